"""The catalogue of backbones."""

from __future__ import annotations

from torch import nn

from blocks.backbones.timm import Timm

BACKBONES: dict[str, type[nn.Module]] = {"timm": Timm}
