"""The catalogue of contexts: also what the `refine` slot offers."""

from __future__ import annotations

from torch import nn

from blocks.contexts.aspp import AtrousPyramid
from blocks.contexts.none import Identity
from blocks.contexts.ppm import PyramidPooling
from blocks.contexts.psa import PolarizedSelfAttention

CONTEXTS: dict[str, type[nn.Module]] = {
    "none": Identity,
    "ppm": PyramidPooling,
    "aspp": AtrousPyramid,
    "psa": PolarizedSelfAttention,
}
