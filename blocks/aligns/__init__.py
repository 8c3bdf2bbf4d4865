"""The catalogue of aligns."""

from __future__ import annotations

from torch import nn

from blocks.aligns.bga import BilateralGuidedAlign
from blocks.aligns.bilinear import Bilinear
from blocks.aligns.carafe import ReassembledPyramid
from blocks.aligns.cff import Cascade
from blocks.aligns.deeplab_plus import LowLevelSkip
from blocks.aligns.dfa import DeepAggregation
from blocks.aligns.dysample import DynamicallySampledPyramid
from blocks.aligns.ffm import SpatialContextFusion
from blocks.aligns.flow import FlowPyramid
from blocks.aligns.fpn import SemanticFPN
from blocks.aligns.gated import GatedPyramid
from blocks.aligns.guided_upsampling import GuidedUpsampling
from blocks.aligns.ifa import ImplicitAlignment
from blocks.aligns.last import Last
from blocks.aligns.rcm import SpatialReconstruction
from blocks.aligns.rgp import AdaptorLadder
from blocks.aligns.uper import UnifiedPyramid

ALIGNS: dict[str, type[nn.Module]] = {
    "last": Last,
    "bilinear": Bilinear,
    "fpn": SemanticFPN,
    "uper": UnifiedPyramid,
    "deeplab_plus": LowLevelSkip,
    "ffm": SpatialContextFusion,
    "bga": BilateralGuidedAlign,
    "cff": Cascade,
    "gated": GatedPyramid,
    "rcm": SpatialReconstruction,
    "guided_upsampling": GuidedUpsampling,
    "flow": FlowPyramid,
    "rgp": AdaptorLadder,
    "carafe": ReassembledPyramid,
    "dysample": DynamicallySampledPyramid,
    "dfa": DeepAggregation,
    "ifa": ImplicitAlignment,
}
