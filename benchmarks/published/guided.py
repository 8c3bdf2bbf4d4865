"""Levels that are resized, weighed or warped by what other levels say."""

from __future__ import annotations

from torch import Tensor, nn

from benchmarks.published.case import Published, classifier
from benchmarks.published.fusions import logits, pyramid
from blocks.aligns.guided_upsampling import GuidanceModule
from blocks.aligns.rcm import GuidedFusion, SpatialReconstruction
from blocks.aligns.rgp import AdaptorLadder
from blocks.contexts.rcm_pyramid import RectangularPyramid
from blocks.features import Features
from blocks.heads.linear import Linear
from blocks.options import Value


def mapped(module: nn.Module, *levels: Tensor) -> Tensor:
    """Run stages that end with an align."""
    return module(Features(levels[0], pyramid=levels)).map


def reconstruction(*widths: int, channels: int, depth: int, strip: Value) -> nn.Module:
    context = RectangularPyramid(pyramid(*widths, finest=8), depth=depth, strip=strip)
    return nn.Sequential(context, SpatialReconstruction(context.out, channels=channels, strip=strip))


def prototypes(channels: int, classes: int = 150) -> int:
    """Parameters of CGRSeg's head: the depthwise convolution, the mask, the transform, the classifier. [count]"""
    depthwise, mask, norm = 3 * channels, channels + 1, 2 * channels
    return depthwise + mask + 2 * classifier(channels, channels) + norm + classifier(channels, classes)


def cgr(*widths: int, channels: int, depth: int = 5, strip: Value = 11) -> Published:
    """CGRSeg's head without its end, at one of its sizes."""
    return Published(
        "rcm",
        build=lambda: reconstruction(*widths, channels=channels, depth=depth, strip=strip),
        call=mapped,
        params_elsewhere=prototypes(channels),
        note="the context rcm_pyramid and this align; the head dpg has the rest",
    )


def ladder() -> nn.Module:
    align = AdaptorLadder(pyramid(256, 512, 1024, 2048))
    return nn.Sequential(align, Linear(align.out))


GUIDED = {
    "cgr_fuse": Published("rcm", build=lambda: GuidedFusion(512, 256, 512)),
    "cgr_head_t": cgr(48, 120, 224, channels=128),
    "cgr_head_b": cgr(64, 144, 288, channels=256, depth=6),
    "cgr_head_l": cgr(80, 192, 384, channels=256, strip=9),
    "gum_thirdparty": Published("guided_upsampling", build=lambda: GuidanceModule(64, 128)),
    "rgpnet_head": Published("rgp", build=ladder, call=logits),
}
