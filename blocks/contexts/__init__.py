"""The catalogue of contexts, and which of them `refine` offers too."""

from __future__ import annotations

from torch import nn

from blocks.contexts.aspp import AtrousPyramid
from blocks.contexts.focal import FocalSelfAttention
from blocks.contexts.local_global import LocalToGlobalAttention
from blocks.contexts.none import Identity
from blocks.contexts.ordnet import OmniRange
from blocks.contexts.ppm import PyramidPooling
from blocks.contexts.psa import PolarizedSelfAttention
from blocks.contexts.rcm_pyramid import RectangularPyramid

CONTEXTS: dict[str, type[nn.Module]] = {
    "none": Identity,
    "ppm": PyramidPooling,
    "aspp": AtrousPyramid,
    "psa": PolarizedSelfAttention,
    "ordnet": OmniRange,
    "focal": FocalSelfAttention,
    "local_global": LocalToGlobalAttention,
    "rcm_pyramid": RectangularPyramid,
}

_BEFORE_ALIGN = frozenset({"rcm_pyramid"})
REFINES = {name: kind for name, kind in CONTEXTS.items() if name not in _BEFORE_ALIGN}
