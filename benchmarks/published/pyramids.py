"""Pooling and atrous pyramids, and gates that keep the resolution."""

from __future__ import annotations

from torch import nn

from benchmarks.published.case import Published, classifier
from blocks.aligns.ifa import ImplicitAlignment
from blocks.contexts.aspp import AtrousPyramid
from blocks.contexts.ppm import PyramidBranches, PyramidPooling
from blocks.contexts.psa import PolarizedSelfAttention
from blocks.features import FeatureMap, Features, Shapes
from blocks.heads.linear import Linear
from blocks.heads.ssa import AdaptiveClassifier

BINS = (1, 2, 3, 6)
RATES = (12, 24, 36)
DEEP = FeatureMap(512, 8)


def implicit_network() -> nn.Module:
    levels = tuple(FeatureMap(256, stride) for stride in (4, 8, 16, 32))
    align = ImplicitAlignment(Shapes(size=(256, 256), classes=19, pyramid=levels), project=False)
    return nn.Sequential(align, Linear(align.out))


PYRAMIDS = {
    "ppm": Published(
        "ppm",
        build=lambda: PyramidBranches(512, 128, BINS, align_corners=True),
        recorded=lambda: PyramidBranches(64, 16, BINS, align_corners=True),
    ),
    "psp_head_mmseg": Published(
        "ppm",
        build=lambda: PyramidPooling(DEEP, channels=128, branch="full"),
        params_elsewhere=classifier(128),
    ),
    "aspp_torchvision": Published("aspp", build=lambda: AtrousPyramid(DEEP, channels=128, rates=RATES)),
    "aspp_head_mmseg": Published(
        "aspp",
        build=lambda: AtrousPyramid(DEEP, channels=128, rates=RATES, fuse_kernel=3),
        params_elsewhere=classifier(128),
    ),
    "psa_p": Published(
        "psa",
        build=lambda: PolarizedSelfAttention(DEEP, mode="parallel"),
        recorded=lambda: PolarizedSelfAttention(FeatureMap(64, 8), mode="parallel"),
    ),
    "psa_s": Published(
        "psa",
        build=lambda: PolarizedSelfAttention(DEEP, mode="sequential"),
        recorded=lambda: PolarizedSelfAttention(FeatureMap(64, 8), mode="sequential"),
    ),
    "ssa_classifier": Published(
        "ssa",
        build=lambda: AdaptiveClassifier(256, 150),
        recorded=lambda: AdaptiveClassifier(64, 19),
        call=lambda module, x: module(x)[0],
    ),
    "ifa": Published(
        "ifa",
        build=implicit_network,
        call=lambda module, *levels: module(Features(levels[0], pyramid=levels)).logits,
    ),
}
