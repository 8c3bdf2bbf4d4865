"""The catalogue of backbones."""

from __future__ import annotations

from torch import nn

BACKBONES: dict[str, type[nn.Module]] = {}
