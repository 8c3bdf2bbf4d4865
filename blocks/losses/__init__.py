"""The catalogue of losses."""

from __future__ import annotations

from torch import nn

LOSSES: dict[str, type[nn.Module]] = {}
