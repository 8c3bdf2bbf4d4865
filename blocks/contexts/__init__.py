"""The catalogue of contexts, and which of them `refine` offers too."""

from __future__ import annotations

from torch import nn

from blocks.contexts.acf import AttentionalClassFeatures
from blocks.contexts.aspp import AtrousPyramid
from blocks.contexts.hmanet import HybridAttention
from blocks.contexts.isnet import IntegratedContext
from blocks.contexts.none import Identity
from blocks.contexts.ocr import ObjectContext
from blocks.contexts.ppm import PyramidPooling
from blocks.contexts.psa import PolarizedSelfAttention

CONTEXTS: dict[str, type[nn.Module]] = {
    "none": Identity,
    "ppm": PyramidPooling,
    "aspp": AtrousPyramid,
    "psa": PolarizedSelfAttention,
    "acf": AttentionalClassFeatures,
    "ocr": ObjectContext,
    "isnet": IntegratedContext,
    "hmanet": HybridAttention,
}

_BEFORE_ALIGN: frozenset[str] = frozenset()
REFINES = {name: kind for name, kind in CONTEXTS.items() if name not in _BEFORE_ALIGN}
