"""DFANet's decoder: what is shallow, what is deep, and that a sum is convolved rather than its parts."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.aligns.dfa import DeepAggregation, halves
from blocks.features import FeatureMap, Features, Shapes


@pytest.mark.parametrize(
    ("levels", "shallow", "deep"),
    [("abcdef", "abc", "def"), ("abcde", "ab", "cde"), ("ab", "a", "b"), ("a", "a", "a")],
)
def test_the_middle_level_is_deep_and_a_level_alone_is_both(levels, shallow, deep):
    assert halves(levels) == (shallow, deep)


@pytest.mark.parametrize("align_corners", [False, True])
def test_over_dfanets_encoder_it_is_two_convolutions_of_two_sums(align_corners):
    levels = tuple(FeatureMap(*level) for level in ((48, 4), (48, 8), (48, 16), (192, 16), (192, 32), (192, 64)))
    source = Shapes(size=(64, 96), classes=3, align_corners=align_corners, pyramid=levels)
    align = DeepAggregation(source).eval()
    assert sum(p.numel() for p in align.parameters()) == 48 * 64 + 192 * 64 + 4 * 64
    maps = [torch.randn(2, level.channels, -(-64 // level.stride), -(-96 // level.stride)) for level in levels]
    large = [F.interpolate(x, (16, 24), mode="bilinear", align_corners=align_corners) for x in maps]
    expected = align.shallow.convs[0](sum(large[:3])) + align.deep.convs[0](sum(large[3:]))
    f = Features(torch.zeros(2, 3, 64, 96), pyramid=tuple(maps))
    torch.testing.assert_close(align(f).map, expected, rtol=1e-4, atol=1e-5)


def test_levels_of_unequal_width_have_a_convolution_each():
    levels = (FeatureMap(6, 4), FeatureMap(7, 8), FeatureMap(8, 16), FeatureMap(9, 32))
    align = DeepAggregation(Shapes(size=(32, 32), classes=3, pyramid=levels), channels=8).eval()
    maps = tuple(torch.randn(1, c, 32 // stride, 32 // stride) for c, stride in levels)
    convs = [*align.shallow.convs, *align.deep.convs]
    large = [F.interpolate(conv(x), (8, 8), mode="bilinear") for conv, x in zip(convs, maps, strict=True)]
    torch.testing.assert_close(align(Features(torch.zeros(1, 3, 32, 32), pyramid=maps)).map, sum(large))
