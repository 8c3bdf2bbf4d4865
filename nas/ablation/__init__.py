"""Designs: from a space and its `ablation:` section to arms that are compared. Values; nothing is trained here."""

from __future__ import annotations

from nas.ablation.arm import Arm, Difference, differences
from nas.ablation.designs import Plan, planned

__all__ = ["Arm", "Difference", "Plan", "differences", "planned"]
