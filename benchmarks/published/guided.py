"""Levels that are resized, weighed or warped by what other levels say."""

from __future__ import annotations

from torch import nn

from benchmarks.published.case import Published
from benchmarks.published.fusions import logits, pyramid
from blocks.aligns.guided_upsampling import GuidanceModule
from blocks.aligns.rcm import GuidedFusion, SpatialReconstruction
from blocks.aligns.rgp import AdaptorLadder
from blocks.contexts.rcm_pyramid import RectangularPyramid
from blocks.heads.dpg import DynamicPrototypes, PrototypeGate
from blocks.heads.linear import Linear
from blocks.options import Value


def cgr(*widths: int, channels: int, depth: int = 5, strip: Value = 11) -> nn.Module:
    """CGRSeg without its backbone: context, align and head."""
    context = RectangularPyramid(pyramid(*widths, finest=8)._replace(classes=150), depth=depth, strip=strip)
    align = SpatialReconstruction(context.out, channels=channels, strip=strip)
    return nn.Sequential(context, align, DynamicPrototypes(align.out))


def ladder() -> nn.Module:
    align = AdaptorLadder(pyramid(256, 512, 1024, 2048))
    return nn.Sequential(align, Linear(align.out))


GUIDED = {
    "cgr_fuse": Published("rcm", build=lambda: GuidedFusion(512, 256, 512)),
    "cgr_dpg": Published("dpg", build=lambda: PrototypeGate(256, 256)),
    "cgr_head_t": Published("dpg", build=lambda: cgr(48, 120, 224, channels=128), call=logits),
    "cgr_head_b": Published("dpg", build=lambda: cgr(64, 144, 288, channels=256, depth=6), call=logits),
    "cgr_head_l": Published("dpg", build=lambda: cgr(80, 192, 384, channels=256, strip=9), call=logits),
    "gum_thirdparty": Published("guided_upsampling", build=lambda: GuidanceModule(64, 128)),
    "rgpnet_head": Published("rgp", build=ladder, call=logits),
}
