"""The catalogue of contexts, and which of them `refine` offers too."""

from __future__ import annotations

from torch import nn

from blocks.contexts.aspp import AtrousPyramid
from blocks.contexts.dgcnet import DualGraphContext
from blocks.contexts.gald import GlobalLocal
from blocks.contexts.none import Identity
from blocks.contexts.ppm import PyramidPooling
from blocks.contexts.psa import PolarizedSelfAttention
from blocks.contexts.rcm_pyramid import RectangularPyramid
from blocks.contexts.reconet import LowRankContext
from blocks.contexts.stlnet import StatisticalTextureContext

CONTEXTS: dict[str, type[nn.Module]] = {
    "none": Identity,
    "ppm": PyramidPooling,
    "aspp": AtrousPyramid,
    "reconet": LowRankContext,
    "stlnet": StatisticalTextureContext,
    "gald": GlobalLocal,
    "dgcnet": DualGraphContext,
    "psa": PolarizedSelfAttention,
    "rcm_pyramid": RectangularPyramid,
}

_BEFORE_ALIGN = frozenset({"rcm_pyramid"})
REFINES = {name: kind for name, kind in CONTEXTS.items() if name not in _BEFORE_ALIGN}
