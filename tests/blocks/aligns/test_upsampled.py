"""The pyramid that learned upsampling serves: by how much it enlarges, and what it does with what is left."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blocks.aligns.upsampled import UpsampledPyramid, fitted, scales
from blocks.features import FeatureMap


class Repeat(nn.Module):
    """Nearest pixels, so that it is seen what was cropped."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return x.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


@pytest.mark.parametrize(
    ("strides", "expected"),
    [((4, 8, 16), [2, 2]), ((8, 8, 32), [1, 4]), ((3, 5, 14), [2, 2]), ((2, 64), [4]), ((8, 9), [1]), ((4,), [])],
)
def test_the_scale_is_the_nearest_power_of_two_up_to_four(strides, expected):
    assert scales([FeatureMap(8, stride) for stride in strides]) == expected


def test_a_map_that_is_too_large_by_less_than_a_cell_is_cropped():
    x = torch.randn(1, 2, 8, 12)
    torch.testing.assert_close(fitted(x, (7, 11), scale=2, align_corners=False), x[:, :, :7, :11])
    torch.testing.assert_close(fitted(x, (5, 9), scale=4, align_corners=False), x[:, :, :5, :9])


@pytest.mark.parametrize("size", [(6, 11), (9, 12), (3, 3), (20, 30)])
def test_any_other_size_is_resized(size):
    x = torch.randn(1, 2, 8, 12)
    expected = F.interpolate(x, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(fitted(x, size, scale=2, align_corners=False), expected)


def test_each_level_receives_the_enlarged_sum_of_the_coarser_ones():
    strides, sides = (4, 8, 8), ((9, 11), (5, 6), (5, 6))
    pyramid = UpsampledPyramid([FeatureMap(3, stride) for stride in strides], 4, Repeat, align_corners=False).eval()
    levels = [torch.randn(2, 3, *side) for side in sides]
    fine, middle, deep = (lateral(level) for lateral, level in zip(pyramid.laterals, levels, strict=True))
    expected = pyramid.smooth(fine + Repeat(2)(middle + deep)[:, :, :9, :11])
    torch.testing.assert_close(pyramid(levels), expected)
    assert isinstance(pyramid.upsampling[1], nn.Identity)
