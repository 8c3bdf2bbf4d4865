"""The catalogue of backbones."""

from __future__ import annotations

from torch import nn

from blocks.backbones.mit import MixTransformer
from blocks.backbones.mscan import MultiScaleAttention
from blocks.backbones.stdc import Stdc1, Stdc2
from blocks.backbones.timm import Timm

BACKBONES: dict[str, type[nn.Module]] = {
    "timm": Timm,
    "stdc1": Stdc1,
    "stdc2": Stdc2,
    "mit": MixTransformer,
    "mscan": MultiScaleAttention,
}
