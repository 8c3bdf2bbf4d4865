"""DySample: each group of channels is read at places of its own, which at first are those of a resize."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blocks.aligns.dysample import DynamicallySampledPyramid, DynamicSampling
from blocks.errors import BlockError
from blocks.features import FeatureMap, Shapes


def bilinear(x: torch.Tensor, column: float, row: float) -> torch.Tensor:
    """Read one place of (C, H, W), in cells; beyond the map the outermost cells go on."""
    total = torch.zeros(x.shape[0])
    row, column = min(max(row, 0), x.shape[1] - 1), min(max(column, 0), x.shape[2] - 1)
    for r in (int(row // 1), int(row // 1) + 1):
        for c in (int(column // 1), int(column // 1) + 1):
            if r < x.shape[1] and c < x.shape[2]:
                total = total + x[:, r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
    return total


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("style", "scale"), [("lp", 2), ("lp", 4), ("pl", 2)])
def test_each_group_is_read_where_its_offsets_lead(style, scale, dynamic):
    groups, height, width = 2, 3, 4
    block = DynamicSampling(8, scale, style=style, groups=groups, dynamic=dynamic)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(1, 8, height, width)
    read = F.pixel_shuffle(x, scale) if style == "pl" else x
    scope = block.scope(read).sigmoid() * 0.5 if dynamic else 0.25
    offsets = (block.offset(read) * scope)[0].detach()
    expected = torch.empty(8, scale * height, scale * width)
    for row in range(scale * height):
        for column in range(scale * width):
            for group in range(groups):
                shift = []
                for axis in range(2):
                    channel = axis * groups + group
                    if style == "pl":
                        shift.append(float(offsets[channel, row, column]))
                    else:
                        channel = channel * scale**2 + row % scale * scale + column % scale
                        shift.append(float(offsets[channel, row // scale, column // scale]))
                across, down = (column + 0.5) / scale - 0.5 + shift[0], (row + 0.5) / scale - 0.5 + shift[1]
                part = slice(group * 4, group * 4 + 4)
                expected[part, row, column] = bilinear(x[0, part], across, down)
    torch.testing.assert_close(block(x)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dynamic", [False, True])
def test_at_first_it_resizes_bilinearly(dynamic):
    block = DynamicSampling(8, dynamic=dynamic)
    x = torch.randn(2, 8, 5, 7)
    expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(block(x), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("style", "dynamic", "expected"),
    [
        ("lp", False, 64 * 32 + 32),
        ("lp", True, 2 * 64 * 32 + 32),
        ("pl", False, 16 * 8 + 8),
        ("pl", True, 2 * 16 * 8 + 8),
    ],
)
def test_its_size_is_the_published_one(style, dynamic, expected):
    assert sum(p.numel() for p in DynamicSampling(64, style=style, dynamic=dynamic).parameters()) == expected


def test_groups_that_do_not_divide_the_channels_become_fewer():
    source = Shapes(size=(32, 32), classes=3, pyramid=(FeatureMap(8, 4), FeatureMap(8, 8)))
    assert DynamicallySampledPyramid(source, channels=18, groups=12).pyramid.upsampling[0].groups == 6


def test_channels_that_cannot_be_shuffled_are_refused():
    source = Shapes(size=(32, 32), classes=3, pyramid=(FeatureMap(8, 4), FeatureMap(8, 16)))
    with pytest.raises(BlockError, match="channels that 16 divides: got channels=24"):
        DynamicallySampledPyramid(source, channels=24, style="pl")
