"""Components against what their authors' code does: recorded numbers and published sizes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from torch import nn

from blocks.aligns.ifa import ImplicitAlignment
from blocks.contexts.aspp import AtrousPyramid
from blocks.contexts.ppm import PyramidBranches, PyramidPooling
from blocks.contexts.psa import PolarizedSelfAttention
from blocks.features import FeatureMap, Shapes
from blocks.heads.linear import Linear
from blocks.heads.ssa import AdaptiveClassifier

REFERENCE = Path(__file__).parents[2] / "../shared/reference"
BINS = (1, 2, 3, 6)

needs_reference = pytest.mark.skipif(
    not REFERENCE.exists(), reason="the folder of reference facts does not lie beside the repository"
)


def first(module, *inputs):
    """For modules that return more than was recorded."""
    return module(*inputs)[0]


CASES = {
    "ppm": (lambda: PyramidBranches(64, 16, BINS, align_corners=True), None),
    "psa_p": (lambda: PolarizedSelfAttention(FeatureMap(64, 8), mode="parallel"), None),
    "psa_s": (lambda: PolarizedSelfAttention(FeatureMap(64, 8), mode="sequential"), None),
    "ssa_classifier": (lambda: AdaptiveClassifier(64, 19), first),
}


@needs_reference
@pytest.mark.parametrize("name", CASES)
def test_it_gives_the_recorded_numbers(name):
    spec = importlib.util.spec_from_file_location("compare", REFERENCE / "compare.py")
    compare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compare)
    build, adapt = CASES[name]
    result = compare.compare(REFERENCE / "golden" / f"{name}.safetensors", build(), adapt)
    assert result["ok"], result


def implicit_network() -> nn.Module:
    levels = tuple(FeatureMap(256, stride) for stride in (4, 8, 16, 32))
    align = ImplicitAlignment(Shapes(size=(256, 256), classes=19, pyramid=levels), project=False)
    return nn.Sequential(align, Linear(align.out))


def classifier(channels: int) -> int:
    """Parameters of a linear classifier of the 19 classes of Cityscapes."""
    return channels * 19 + 19


def separable(inputs: int, outputs: int) -> int:
    """Parameters of a separable 3x3 convolution with normalisation after both parts."""
    return 9 * inputs + 2 * inputs + inputs * outputs + 2 * outputs


DEEP = FeatureMap(512, 8)
# Name of the published module -> (what of it is another slot's here, our component).
SIZES = {
    "ppm": (0, lambda: PyramidBranches(512, 128, BINS, align_corners=True)),
    "psp_head_mmseg": (classifier(128), lambda: PyramidPooling(DEEP, channels=128, branch="full")),
    "aspp_torchvision": (0, lambda: AtrousPyramid(DEEP, channels=128, rates=(12, 24, 36))),
    "aspp_head_mmseg": (
        classifier(128),
        lambda: AtrousPyramid(DEEP, channels=128, rates=(12, 24, 36), fuse_kernel=3),
    ),
    "sep_aspp_head_mmseg": (
        classifier(128) + 256 * 48 + 2 * 48 + separable(128 + 48, 128) + separable(128, 128),
        lambda: AtrousPyramid(DEEP, channels=128, rates=(12, 24, 36), fuse_kernel=3, separable=True),
    ),
    "psa_p": (0, lambda: PolarizedSelfAttention(DEEP, mode="parallel")),
    "psa_s": (0, lambda: PolarizedSelfAttention(DEEP, mode="sequential")),
    "ssa_classifier": (0, lambda: AdaptiveClassifier(256, 150)),
    "ifa": (0, implicit_network),
}


@needs_reference
@pytest.mark.parametrize("name", SIZES)
def test_it_has_the_published_parameters(name):
    facts = {entry["name"]: entry for entry in json.loads((REFERENCE / "blocks.json").read_text())}
    elsewhere, build = SIZES[name]
    ours = sum(parameter.numel() for parameter in build().parameters())
    assert ours == facts[name]["params_trainable"] - elsewhere
