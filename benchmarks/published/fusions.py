"""Ways to fuse the levels of a pyramid into one map."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from benchmarks.published.case import Published
from blocks.aligns.bga import BilateralAggregation
from blocks.aligns.cff import Cascade, CascadeFusion
from blocks.aligns.deeplab_plus import LowLevelSkip
from blocks.aligns.ffm import AttentionRefinement, FeatureFusion
from blocks.aligns.fpn import FeaturePyramid, SemanticBranches
from blocks.aligns.gated import Gate
from blocks.aligns.uper import UnifiedPyramid
from blocks.architecture import Component
from blocks.features import FeatureMap, Features, Shapes
from blocks.heads.linear import Linear
from blocks.network import build_stage

STRIDES = (4, 8, 16, 32)


def pyramid(*widths: int, finest: int = 4) -> Shapes:
    """Levels of these channels, each of half the size of the one before."""
    levels = tuple(FeatureMap(width, finest << place) for place, width in enumerate(widths))
    return Shapes(size=(256, 256), classes=19, pyramid=levels)


def logits(module: nn.Module, *levels: Tensor) -> Tensor:
    """Run stages that end with a head."""
    return module(Features(levels[0], pyramid=levels)).logits


def listed(module: nn.Module, *levels: Tensor) -> Any:
    """Run a module that takes all levels as one argument."""
    return module(levels)


def cascade(module: nn.Module, *levels: Tensor) -> tuple[Tensor, ...]:
    """Run ICNet's neck: what its auxiliary classifiers read, then the map."""
    f = module(Features(levels[0], pyramid=levels))
    return (*f.taps.values(), f.map)


def deeplab() -> nn.Module:
    options = {"channels": 128, "rates": (12, 24, 36), "fuse_kernel": 3, "separable": True}
    context = build_stage("context", Component.of("aspp", options), pyramid(256, 512))
    align = LowLevelSkip(context.out, channels=128)
    return nn.Sequential(context, align, Linear(align.out))


def perceptual() -> nn.Module:
    align = UnifiedPyramid(pyramid(64, 128, 256, 512), channels=128)
    return nn.Sequential(align, Linear(align.out))


FUSIONS = {
    "fpn_neck_mmseg": Published("fpn", build=lambda: FeaturePyramid((256, 512, 1024, 2048), 256), call=listed),
    "semantic_fpn_head_mmseg": Published(
        "fpn",
        build=lambda: nn.Sequential(
            SemanticBranches((256,) * 4, STRIDES, 128, align_corners=False), nn.Conv2d(128, 19, 1)
        ),
        call=listed,
    ),
    "uper_head_mmseg": Published("uper", build=perceptual, call=logits),
    "sep_aspp_head_mmseg": Published(
        "deeplab_plus", build=deeplab, call=logits, note="the context aspp, this align and a linear head"
    ),
    "bisenetv1_ffm": Published("ffm", build=lambda: FeatureFusion(256, 256), recorded=lambda: FeatureFusion(64, 64)),
    "bisenetv1_arm": Published("ffm", build=lambda: AttentionRefinement(512, 128)),
    "bisenetv2_bga": Published("bga", build=lambda: BilateralAggregation(128, 128, 128, variant="coincheung")),
    "icnet_cff": Published(
        "cff",
        build=lambda: CascadeFusion(256, 256, 128, variant="mmseg"),
        call=lambda module, coarse, fine: module(coarse, fine)[0],
    ),
    "icneck": Published("cff", build=lambda: Cascade(pyramid(64, 256, 256), variant="mmseg"), call=cascade),
    "gatenet_gate": Published("gated", build=lambda: Gate(1280, (256, 64))),
}
