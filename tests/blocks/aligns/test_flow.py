"""Flow alignment: where the flow leads, and what the pyramid adds up."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blocks.aligns.flow import FlowAlignment, FlowPyramid
from blocks.features import FeatureMap, Features, Shapes

SOURCE = Shapes(size=(36, 44), classes=3, pyramid=(FeatureMap(6, 4), FeatureMap(10, 8), FeatureMap(14, 16)))
LEVELS = (torch.randn(2, 6, 9, 11), torch.randn(2, 10, 5, 6), torch.randn(2, 14, 3, 3))


def bilinear(x: torch.Tensor, column: float, row: float) -> torch.Tensor:
    """Read one place, in cells; beyond the map there are zeros."""
    total = torch.zeros(x.shape[0])
    for r in (int(row // 1), int(row // 1) + 1):
        for c in (int(column // 1), int(column // 1) + 1):
            if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]:
                total = total + x[:, r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
    return total


def test_each_pixel_is_read_where_the_flow_leads():
    block = FlowAlignment(6, 3)
    nn.init.normal_(block.flow.weight)
    fine, coarse = torch.randn(1, 6, 4, 5), torch.randn(1, 6, 3, 2)
    narrowed = F.interpolate(block.coarse(coarse), (4, 5), mode="bilinear", align_corners=True)
    flow = block.flow(torch.cat([narrowed, block.fine(fine)], dim=1))[0].detach()
    expected = torch.empty(6, 4, 5)
    for row in range(4):
        for column in range(5):
            x = 2 * column / 4 - 1 + float(flow[0, row, column]) / 5
            y = 2 * row / 3 - 1 + float(flow[1, row, column]) / 4
            expected[:, row, column] = bilinear(coarse[0], (x + 1) / 2 * 1, (y + 1) / 2 * 2)
    torch.testing.assert_close(block(fine, coarse)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("align_corners", [False, True])
def test_without_flow_it_is_a_top_down_pyramid_of_which_all_levels_are_fused(align_corners):
    align = FlowPyramid(SOURCE._replace(align_corners=align_corners), channels=8).eval()
    for warp in align.warps:
        nn.init.zeros_(warp.flow.weight)

    def to(x, like):
        return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=align_corners)

    deep = align.project(LEVELS[2])
    middle = align.laterals[1](LEVELS[1])
    middle = middle + to(deep, middle)
    fine = align.laterals[0](LEVELS[0])
    fine = fine + to(middle, fine)
    levels = [align.smooth[0](fine), to(align.smooth[1](middle), fine), to(deep, fine)]
    f = Features(torch.zeros(2, 3, 36, 44), pyramid=LEVELS)
    torch.testing.assert_close(align(f).map, align.fuse(torch.cat(levels, dim=1)), rtol=1e-4, atol=1e-5)


def test_a_context_of_the_pyramids_width_is_not_projected_again():
    assert isinstance(FlowPyramid(SOURCE, channels=14).project, nn.Identity)
    assert not isinstance(FlowPyramid(SOURCE, channels=8).project, nn.Identity)
