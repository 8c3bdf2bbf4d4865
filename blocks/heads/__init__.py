"""The catalogue of heads."""

from __future__ import annotations

from torch import nn

HEADS: dict[str, type[nn.Module]] = {}
