"""Ray Tune schedules the trials: on this machine or on a cluster."""

from __future__ import annotations

from runners.ray_tune.runner import RayRunner

__all__ = ["RayRunner"]
