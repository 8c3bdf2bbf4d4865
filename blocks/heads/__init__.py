"""The catalogue of heads."""

from __future__ import annotations

from torch import nn

from blocks.heads.dpg import DynamicPrototypes
from blocks.heads.fcn import FullyConvolutional
from blocks.heads.hyperseg import HyperSeg
from blocks.heads.linear import Linear
from blocks.heads.prototype import Prototype
from blocks.heads.separable import Separable
from blocks.heads.ssa import AdaptiveHead

HEADS: dict[str, type[nn.Module]] = {
    "linear": Linear,
    "fcn": FullyConvolutional,
    "separable": Separable,
    "prototype": Prototype,
    "ssa": AdaptiveHead,
    "dpg": DynamicPrototypes,
    "hyperseg": HyperSeg,
}
