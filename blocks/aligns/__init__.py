"""The catalogue of aligns."""

from __future__ import annotations

from torch import nn

ALIGNS: dict[str, type[nn.Module]] = {}
