"""The rivals of rectangular attention, against their formulas, place by place."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.contexts.rcm_pyramid import RectangularCalibration
from blocks.contexts.token_mixers import RIVALS, CoordinateAttention, GatherExcite, SelfAttention


def test_self_attention_gives_each_pixel_the_weighed_mean_of_all():
    torch.manual_seed(0)
    block, x = SelfAttention(16).eval(), 3 * torch.randn(2, 16, 3, 4)
    query, key, value = (conv(x).flatten(2) for conv in (block.query, block.key, block.value))
    found = torch.empty(2, 16, 12)
    for pixel in range(12):
        likeness = (query[:, :, pixel, None] * key).sum(dim=1) / 2**0.5
        found[:, :, pixel] = (likeness.softmax(dim=1)[:, None] * value).sum(dim=2)
    torch.testing.assert_close(block(x), found.reshape(2, 16, 3, 4))


def test_coordinate_attention_weighs_by_row_and_by_column():
    torch.manual_seed(0)
    block, x = CoordinateAttention(12).eval(), 3 * torch.randn(2, 12, 3, 4)
    found = torch.empty_like(x)
    for i in range(3):
        for j in range(4):
            row, column = (block.squeeze(strip.mean(dim=2)[..., None, None]) for strip in (x[:, :, i], x[..., j]))
            weights = block.rows(row).sigmoid() * block.columns(column).sigmoid()
            found[..., i, j] = x[..., i, j] * weights[..., 0, 0]
    torch.testing.assert_close(block(x), found)


def test_gather_excite_weighs_a_neighbourhood_as_one():
    torch.manual_seed(0)
    block, x = GatherExcite(6).eval(), torch.randn(1, 6, 24, 16)
    weights = block(x) / x
    cells = F.avg_pool2d(weights, 8)
    torch.testing.assert_close(weights, F.interpolate(cells, scale_factor=8))
    assert cells.std() > 0


@pytest.mark.parametrize("mixer", RIVALS)
def test_a_calibration_with_any_of_them_is_an_identity_at_first(mixer):
    x = torch.randn(1, 16, 9, 7)
    change = RectangularCalibration(16, mixer=mixer).eval()(x) - x
    assert 0 < change.abs().max() < 1e-4


def test_inception_leaves_five_eighths_of_the_channels_alone():
    x = torch.randn(1, 32, 5, 6)
    mixed = RIVALS["inception_next"](32)(x)
    alone = [torch.equal(mixed[:, channel], x[:, channel]) for channel in range(32)]
    assert alone == [True] * 20 + [False] * 12
