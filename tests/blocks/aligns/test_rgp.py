"""RGPNet's ladder: what each sum holds, the convolution that is used twice, and sizes that do not halve."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blocks.aligns.rgp import AdaptorLadder, TwiceConvolved
from blocks.features import FeatureMap, Features, Shapes

SOURCE = Shapes(size=(32, 48), classes=3, pyramid=(FeatureMap(6, 4), FeatureMap(10, 8), FeatureMap(14, 16)))


def ladder(*levels: tuple[int, int], size: tuple[int, int], sides: tuple[tuple[int, int], ...] = ()):
    source = SOURCE._replace(size=size, pyramid=tuple(FeatureMap(*level) for level in levels))
    align = AdaptorLadder(source, channels=8).eval()
    sides = sides or tuple((-(-size[0] // stride), -(-size[1] // stride)) for _, stride in levels)
    maps = tuple(torch.randn(1, c, *side) for (c, _), side in zip(levels, sides, strict=True))
    return align, maps, align(Features(torch.zeros(1, 3, *size), pyramid=maps)).map


def test_one_convolution_is_applied_twice_with_two_normalisations():
    block = TwiceConvolved(4).eval()
    block.second.weight.data.uniform_(1, 2)
    x = torch.randn(2, 4, 5, 6)
    expected = F.relu(x + block.second(block.conv(F.relu(block.first(block.conv(x))))))
    torch.testing.assert_close(block(x), expected)
    assert sum(isinstance(m, nn.Conv2d) for m in block.modules()) == 1


@pytest.mark.parametrize("size", [(32, 48), (61, 83)])
def test_a_level_meets_its_finer_neighbour_halved_and_its_coarser_one_doubled(size):
    align, maps, given = ladder((6, 4), (10, 8), (14, 16), size=size)
    fine, middle, deep = (lateral(x) for lateral, x in zip(align.laterals, maps, strict=True))
    halved = [
        F.relu(F.conv2d(x, c.weight, c.bias, stride=2, padding=1))
        for x, c in zip((fine, middle), align.lowering, strict=True)
    ]
    x = align.deepest(deep + halved[1])
    for level, lowered, raising, block in zip((middle, fine), (halved[0], 0), align.raising, align.blocks, strict=True):
        odd = [2 * side - want for side, want in zip(x.shape[2:], level.shape[2:], strict=True)]
        padding = [1 - side for side in odd]
        raised = F.conv_transpose2d(x, raising.weight, raising.bias, stride=2, padding=1, output_padding=padding)
        x = block(raised + level + lowered)
    torch.testing.assert_close(given, x)


def test_levels_of_one_stride_keep_their_size():
    align, _, given = ladder((6, 8), (10, 8), size=(33, 47))
    assert [conv.stride for conv in (*align.lowering, *align.raising)] == [(1, 1), (1, 1)]
    assert given.shape == (1, 8, 5, 6)


@pytest.mark.parametrize("sides", [((13, 19), (6, 9)), ((13, 19), (2, 3)), ((13, 19), (9, 9)), ((1, 1), (1, 1))])
def test_any_other_size_is_resized(sides):
    _, _, given = ladder((6, 4), (10, 8), size=(52, 76), sides=sides)
    assert given.shape == (1, 8, *sides[0])


def test_widths_double_from_level_to_level_up_to_eight_times():
    levels = tuple(FeatureMap(4, 2**place) for place in range(1, 7))
    with torch.device("meta"):
        align = AdaptorLadder(SOURCE._replace(pyramid=levels), channels=16)
    assert [lateral[0].out_channels for lateral in align.laterals] == [16, 32, 64, 128, 128, 128]
