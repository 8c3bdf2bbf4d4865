"""The catalogue of contexts, and which of them `refine` offers too."""

from __future__ import annotations

from torch import nn

from blocks.contexts.acf import AttentionalClassFeatures
from blocks.contexts.ann import AsymmetricNonLocal
from blocks.contexts.arm import ContextRefinement
from blocks.contexts.aspp import AtrousPyramid
from blocks.contexts.ccnet import CrissCross
from blocks.contexts.danet import DualAttention
from blocks.contexts.dgcnet import DualGraphContext
from blocks.contexts.dnl import DisentangledNonLocal
from blocks.contexts.focal import FocalSelfAttention
from blocks.contexts.fold_aspp import FoldAtrousPyramid
from blocks.contexts.gald import GlobalLocal
from blocks.contexts.gated_paths import GatedPaths
from blocks.contexts.ham import FactorisedContext
from blocks.contexts.hmanet import HybridAttention
from blocks.contexts.isa import InterlacedSparseAttention
from blocks.contexts.isnet import IntegratedContext
from blocks.contexts.local_global import LocalToGlobalAttention
from blocks.contexts.non_local import NonLocal
from blocks.contexts.none import Identity
from blocks.contexts.ocnet import ObjectContext
from blocks.contexts.ocr import ObjectContextualRepresentations
from blocks.contexts.ordnet import OmniRange
from blocks.contexts.pafem import PyramidAttendedFeatures
from blocks.contexts.patch_pool import PatchPooling
from blocks.contexts.ppm import PyramidPooling
from blocks.contexts.psa import PolarizedSelfAttention
from blocks.contexts.psanet import PointwiseSpatialAttention
from blocks.contexts.rcm_pyramid import RectangularPyramid
from blocks.contexts.reconet import LowRankContext
from blocks.contexts.smoothed_dilation import SmoothedResidual
from blocks.contexts.stlnet import StatisticalTextureContext

CONTEXTS: dict[str, type[nn.Module]] = {
    "none": Identity,
    "ppm": PyramidPooling,
    "aspp": AtrousPyramid,
    "pafem": PyramidAttendedFeatures,
    "fold_aspp": FoldAtrousPyramid,
    "gated_paths": GatedPaths,
    "smoothed_dilation": SmoothedResidual,
    "non_local": NonLocal,
    "danet": DualAttention,
    "ann": AsymmetricNonLocal,
    "ocnet": ObjectContext,
    "isa": InterlacedSparseAttention,
    "ccnet": CrissCross,
    "psanet": PointwiseSpatialAttention,
    "dnl": DisentangledNonLocal,
    "reconet": LowRankContext,
    "ordnet": OmniRange,
    "stlnet": StatisticalTextureContext,
    "gald": GlobalLocal,
    "dgcnet": DualGraphContext,
    "psa": PolarizedSelfAttention,
    "acf": AttentionalClassFeatures,
    "ocr": ObjectContextualRepresentations,
    "isnet": IntegratedContext,
    "ham": FactorisedContext,
    "hmanet": HybridAttention,
    "focal": FocalSelfAttention,
    "local_global": LocalToGlobalAttention,
    "patch_pool": PatchPooling,
    "arm": ContextRefinement,
    "rcm_pyramid": RectangularPyramid,
}

_BEFORE_ALIGN = frozenset({"rcm_pyramid"})
REFINES = {name: kind for name, kind in CONTEXTS.items() if name not in _BEFORE_ALIGN}
