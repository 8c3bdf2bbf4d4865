"""Encoders that are not timm's."""

from __future__ import annotations

from torch import Tensor, nn

from benchmarks.published.case import Published, classifier
from blocks.backbones.stdc import DenseConcatenation, ShortTermDense, Stdc1
from blocks.features import Features, Shapes

# The head for ImageNet: a 1x1 convolution, two linear layers without bias, and a normalisation that is never used.
STDC_HEAD = 2 * 1024 * 1024 + 2 * 1024 + 2 * 1024 + 1024 * 1000


def image(module: nn.Module, x: Tensor) -> Features:
    """Give a backbone the image."""
    encoded: Features = module(Features(x))
    return encoded


def conv_head(inputs: int, channels: int, classes: int = 19, *, bias: bool = True) -> int:
    """Parameters of a 3x3 convolution with normalisation, and a classifier. [count]"""
    last = classifier(channels, classes) - (0 if bias else classes)
    return 9 * inputs * channels + 2 * channels + last


def source(size: int) -> Shapes:
    return Shapes(size=(size, size), classes=19)


ENCODERS = {
    "stdc_cat_bottleneck_s1": Published(
        "stdc1",
        build=lambda: DenseConcatenation(512, 512),
        recorded=lambda: DenseConcatenation(64, 64),
        file="stdc_cat_s1",
    ),
    "stdc_cat_bottleneck_s2": Published("stdc1", build=lambda: DenseConcatenation(256, 512, stride=2)),
    "stdcnet1": Published("stdc1", build=lambda: ShortTermDense(3, (2, 2, 2)), params_elsewhere=STDC_HEAD),
    "stdcnet2": Published("stdc2", build=lambda: ShortTermDense(3, (4, 5, 3)), params_elsewhere=STDC_HEAD),
    "stdc1_seg": Published(
        "stdc1",
        build=lambda: Stdc1(source(256), context_path=True),
        call=image,
        params_elsewhere=STDC_HEAD
        + (384 * 256 + 2 * 256 + 2 * 256 * 64)
        + conv_head(256, 256, bias=False)
        + 2 * conv_head(128, 64, bias=False)
        + sum(conv_head(width, 64, 1, bias=False) for width in (32, 64, 256, 512)),
        note="the published network holds the fusion, an align here, and seven heads, six of them for training",
    ),
}
