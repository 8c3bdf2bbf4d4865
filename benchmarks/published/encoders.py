"""Encoders that are not timm's."""

from __future__ import annotations

from torch import Tensor, nn

from benchmarks.published.case import Published, classifier
from blocks.backbones.bisenet import Bisenet, SpatialPath
from blocks.backbones.bisenetv2 import Bilateral, DetailBranch, SemanticBranch
from blocks.backbones.dfanet import Dfanet
from blocks.backbones.stdc import DenseConcatenation, ShortTermDense, Stdc1
from blocks.features import Features, Shapes

SOURCE = Shapes(size=(256, 256), classes=19)


def image(module: nn.Module, x: Tensor) -> Features:
    """Give a backbone the image."""
    encoded: Features = module(Features(x))
    return encoded


def head(inputs: int, channels: int, classes: int = 19, *, bias: bool = True) -> int:
    """Parameters of a 3x3 convolution with normalisation, and a classifier. [count]"""
    return 9 * inputs * channels + 2 * channels + classifier(channels, classes) - (0 if bias else classes)


def context_path(*inputs: int, width: int = 128) -> int:
    """Parameters of BiSeNet's way up: a global average of the last map, and a refinement and a convolution of each."""
    convolution = 9 * width * width + 2 * width
    each = sum(9 * count * width + 2 * width + width * width + 2 * width + convolution for count in inputs)
    return each + inputs[-1] * width + 2 * width


# Of ImageNet: a 1x1 convolution, two linear layers without bias, and a normalisation that is never used.
STDC_HEAD = 2 * 1024 * 1024 + 2 * 1024 + 2 * 1024 + 1024 * 1000
STDC_FUSION = 384 * 256 + 2 * 256 + 2 * 256 * 64
STDC_DETAIL = sum(head(width, 64, 1, bias=False) for width in (32, 64, 256, 512))
FUSION = 256 * 256 + 2 * 256 + 2 * 256 * 256
MMSEG_FUSION = 2 * (256 * 256 + 2 * 256)
DEEP_STEM = (9 * 3 * 32 + 9 * 32 * 32 + 9 * 32 * 64 + 2 * (32 + 32 + 64)) - (49 * 3 * 64 + 2 * 64)
# Six pointwise convolutions, one of them never used, a 3x3 one with a bias and a 3x3 classifier without.
DFA_DECODER = 3 * (48 + 192) * 64 + 6 * 2 * 64 + (9 * 64 * 64 + 3 * 64) + 9 * 64 * 19
AGGREGATION = 2 * (9 * 128 + 2 * 128 + 128 * 128 + 128) + 3 * (9 * 128 * 128 + 2 * 128)

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
        build=lambda: Stdc1(SOURCE, levels=3),
        call=image,
        params_elsewhere=STDC_HEAD
        + context_path(512, 1024)
        + STDC_FUSION
        + head(256, 256, bias=False)
        + 2 * head(128, 64, bias=False)
        + STDC_DETAIL,
        note="the published network holds context path and fusion, an align here, and seven heads, six for training",
    ),
    "bisenetv1_sp": Published("bisenet", build=lambda: SpatialPath(3, 128)),
    "bisenetv1_r18": Published(
        "bisenet",
        build=lambda: Bisenet(SOURCE),
        call=image,
        params_elsewhere=context_path(256, 512) + FUSION + head(256, 64) + 2 * head(128, 256),
        note="the published network holds context path and fusion, an align here, and its head; two more that only "
        "training uses are in its parameters",
    ),
    "bisenetv1_mmseg": Published(
        "bisenet",
        build=lambda: Bisenet(SOURCE),
        call=image,
        params_elsewhere=context_path(256, 512) + MMSEG_FUSION + DEEP_STEM,
        note="the published encoder holds context path and fusion, an align here; its ResNet-18 has a stem of three "
        "convolutions, which timm's has not",
    ),
    "bisenetv2_detail": Published("bisenetv2", build=lambda: DetailBranch(3)),
    "bisenetv2_semantic": Published("bisenetv2", build=lambda: SemanticBranch(3)),
    "bisenetv2_mmseg": Published(
        "bisenetv2",
        build=lambda: Bilateral(SOURCE),
        call=image,
        params_elsewhere=AGGREGATION,
        note="the published encoder holds guided aggregation, an align here",
    ),
    "dfanet": Published(
        "dfanet",
        build=lambda: Dfanet(SOURCE, variant="huaifeng1993"),
        call=image,
        params_elsewhere=DFA_DECODER,
        note="the published network holds the decoder, an align here, and the classifier; both have 3x3 convolutions "
        "there, where the align and the linear head have pointwise ones",
    ),
}
