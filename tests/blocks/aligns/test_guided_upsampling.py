"""Guided upsampling: what an offset of one pixel means, and that offsets of zero are a bilinear resize."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.aligns.guided_upsampling import GuidanceModule, GuidedUpsampling
from blocks.features import FeatureMap, Features, Shapes

SOURCE = Shapes(size=(36, 44), classes=3, pyramid=(FeatureMap(6, 4), FeatureMap(10, 8), FeatureMap(14, 16)))
FINE, DEEP = torch.randn(2, 6, 9, 11), torch.randn(2, 14, 3, 3)


def shift(module: GuidanceModule, x: float, y: float) -> None:
    """Let every offset be this many pixels."""
    norm = module.offsets[-1][1]
    torch.nn.init.zeros_(norm.weight)
    norm.bias.data = torch.tensor([x, y])


@pytest.mark.parametrize("align_corners", [False, True])
def test_offsets_are_pixels_of_the_fine_map(align_corners):
    module = GuidanceModule(6, 14, align_corners=align_corners).eval()
    shift(module, 1.0, 2.0)
    grid, offsets = module(FINE, DEEP)
    moved = grid + offsets
    torch.testing.assert_close(moved[:, :-2, :-1], grid[:, 2:, 1:], rtol=1e-5, atol=1e-5)


def test_the_guidance_is_a_fusion_and_three_convolutions():
    module = GuidanceModule(6, 14).eval()
    deep = F.interpolate(DEEP, (9, 11), mode="bilinear", align_corners=True)
    x = F.relu(module.fine(FINE) + module.deep(deep))
    for conv in module.offsets:
        x = conv(x)
    expected = torch.stack([x[:, 0] / ((11 - 1) / 2), x[:, 1] / ((9 - 1) / 2)], dim=-1)
    grid, offsets = module(FINE, DEEP)
    torch.testing.assert_close(offsets, expected)
    torch.testing.assert_close(grid[1, 0, :, 0], torch.arange(11) / 10 * 2 - 1)
    torch.testing.assert_close(grid[1, :, 0, 1], torch.arange(9) / 8 * 2 - 1)


@pytest.mark.parametrize("align_corners", [False, True])
def test_without_offsets_it_resizes_the_deepest_level(align_corners):
    align = GuidedUpsampling(SOURCE._replace(align_corners=align_corners), channels=8).eval()
    shift(align.guidance, 0.0, 0.0)
    f = Features(torch.zeros(2, 3, 36, 44), pyramid=(FINE, torch.randn(2, 10, 5, 6), DEEP))
    expected = F.interpolate(align.narrow(DEEP), (9, 11), mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(align(f).map, expected, rtol=1e-4, atol=1e-5)
