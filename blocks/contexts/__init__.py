"""The catalogue of contexts, and which of them `refine` offers too."""

from __future__ import annotations

from torch import nn

from blocks.contexts.ann import AsymmetricNonLocal
from blocks.contexts.aspp import AtrousPyramid
from blocks.contexts.danet import DualAttention
from blocks.contexts.dnl import DisentangledNonLocal
from blocks.contexts.non_local import NonLocal
from blocks.contexts.none import Identity
from blocks.contexts.ppm import PyramidPooling
from blocks.contexts.psa import PolarizedSelfAttention

CONTEXTS: dict[str, type[nn.Module]] = {
    "none": Identity,
    "ppm": PyramidPooling,
    "aspp": AtrousPyramid,
    "non_local": NonLocal,
    "danet": DualAttention,
    "ann": AsymmetricNonLocal,
    "dnl": DisentangledNonLocal,
    "psa": PolarizedSelfAttention,
}

_BEFORE_ALIGN: frozenset[str] = frozenset()
REFINES = {name: kind for name, kind in CONTEXTS.items() if name not in _BEFORE_ALIGN}
