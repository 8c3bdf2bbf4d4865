"""The catalogue of contexts, and which of them `refine` offers too."""

from __future__ import annotations

from torch import nn

from blocks.contexts.aspp import AtrousPyramid
from blocks.contexts.ccnet import CrissCross
from blocks.contexts.isa import InterlacedSparseAttention
from blocks.contexts.none import Identity
from blocks.contexts.ocnet import ObjectContext
from blocks.contexts.ppm import PyramidPooling
from blocks.contexts.psa import PolarizedSelfAttention
from blocks.contexts.psanet import PointwiseSpatialAttention

CONTEXTS: dict[str, type[nn.Module]] = {
    "none": Identity,
    "ppm": PyramidPooling,
    "aspp": AtrousPyramid,
    "psa": PolarizedSelfAttention,
    "ocnet": ObjectContext,
    "isa": InterlacedSparseAttention,
    "ccnet": CrissCross,
    "psanet": PointwiseSpatialAttention,
}

_BEFORE_ALIGN: frozenset[str] = frozenset()
REFINES = {name: kind for name, kind in CONTEXTS.items() if name not in _BEFORE_ALIGN}
