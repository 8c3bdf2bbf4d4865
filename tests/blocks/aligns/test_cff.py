"""Cascade feature fusion: dilation behind the resize, where the ReLUs are, what the taps hold."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.aligns.cff import Cascade, CascadeFusion
from blocks.features import FeatureMap, Features, Shapes

SOURCE = Shapes(
    size=(72, 88), classes=3, pyramid=(FeatureMap(4, 4), FeatureMap(5, 8), FeatureMap(6, 16), FeatureMap(7, 32))
)
LEVELS = (torch.randn(2, 4, 18, 22), torch.randn(2, 5, 9, 11), torch.randn(2, 6, 5, 5), torch.randn(2, 7, 2, 3))


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("variant", ["paper", "mmseg"])
def test_the_coarse_map_is_resized_before_its_dilated_convolution(variant, align_corners):
    block = CascadeFusion(3, 4, 8, variant=variant, align_corners=align_corners).eval()
    coarse, fine = torch.randn(2, 3, 4, 5), torch.randn(2, 4, 7, 9)
    inner = F.relu if variant == "mmseg" else lambda x: x
    resized = F.interpolate(coarse, (7, 9), mode="bilinear", align_corners=align_corners)
    low = F.conv2d(resized, block.coarse[0].weight, padding=2, dilation=2)
    low, high = inner(block.coarse[1](low)), inner(block.fine[1](F.conv2d(fine, block.fine[0].weight)))
    fused, tap = block(coarse, fine)
    torch.testing.assert_close(fused, F.relu(low + high))
    torch.testing.assert_close(tap, resized if variant == "paper" else low)


@pytest.mark.parametrize("variant", ["paper", "mmseg"])
def test_the_cascade_takes_the_deepest_levels(variant):
    align = Cascade(SOURCE, channels=8, variant=variant).eval()
    given = align(Features(torch.zeros(2, 3, 72, 88), pyramid=LEVELS))
    first, tap_0 = align.fusions[0](LEVELS[3], LEVELS[2])
    second, tap_1 = align.fusions[1](first, LEVELS[1])
    torch.testing.assert_close(given.map, second)
    torch.testing.assert_close(dict(given.taps), {"cff_0": tap_0, "cff_1": tap_1})
    for name, (channels, stride) in align.out.taps.items():
        assert given.taps[name].shape[1] == channels
        assert given.taps[name].shape[2] == -(-72 // stride)


def test_all_levels_can_be_taken():
    align = Cascade(SOURCE, channels=8, levels=6)
    assert len(align.fusions) == 3
    assert align.out.map == FeatureMap(8, 4)
