"""Smoothed dilated convolutions: what they start as, and what they learn to mix."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.contexts.smoothed_dilation import GroupInteraction, SeparableShared, SmoothedResidual
from blocks.features import FeatureMap

BOTH = pytest.mark.parametrize("smoothed", [GroupInteraction, SeparableShared])


@BOTH
@pytest.mark.parametrize(("rate", "size"), [(1, (5, 4)), (2, (8, 6)), (2, (7, 5)), (3, (10, 7)), (4, (2, 1))], ids=str)
def test_it_starts_as_a_dilated_convolution(smoothed, rate, size):
    torch.manual_seed(0)
    block = smoothed(3, 5, rate)
    x = torch.randn(2, 3, *size)
    expected = F.conv2d(x, block.conv.weight, padding=rate, dilation=rate)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rate", "size"), [(2, (6, 8)), (2, (5, 7)), (3, (4, 7))], ids=str)
def test_groups_take_from_each_other_what_the_matrix_says(rate, size):
    torch.manual_seed(0)
    block = GroupInteraction(3, 2, rate)
    torch.nn.init.normal_(block.mixing)
    x = torch.randn(2, 3, *size)
    full = F.pad(x, (0, -size[1] % rate, 0, -size[0] % rate))
    places = [(down, right) for down in range(rate) for right in range(rate)]
    groups = [F.conv2d(full[..., i::rate, j::rate], block.conv.weight, padding=1) for i, j in places]
    expected = torch.empty(2, 2, *full.shape[2:])
    for to, (i, j) in enumerate(places):
        expected[..., i::rate, j::rate] = sum(block.mixing[origin, to] * y for origin, y in enumerate(groups))
    torch.testing.assert_close(block(x), expected[..., : size[0], : size[1]])


def test_one_filter_smooths_every_channel_before_the_convolution():
    torch.manual_seed(0)
    block = SeparableShared(3, 2, 3)
    torch.nn.init.normal_(block.smoothing)
    x = torch.randn(2, 3, 9, 7)
    smoothed = torch.cat([F.conv2d(channel, block.smoothing, padding=2) for channel in x.split(1, dim=1)], dim=1)
    expected = F.conv2d(smoothed, block.conv.weight, padding=3, dilation=3)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


@BOTH
def test_neighbours_that_dilation_keeps_apart_meet(smoothed):
    block = smoothed(1, 1, 2)
    x = torch.zeros(1, 1, 8, 8)
    x[..., 4, 4] = 1.0
    assert not block(x)[..., 4, 5].any()
    with torch.no_grad():
        (block.mixing if smoothed is GroupInteraction else block.smoothing).add_(0.1)
    assert block(x)[..., 4, 5].any()


@BOTH
def test_it_adds_a_handful_of_parameters(smoothed):
    rate = 3
    extra = rate**4 if smoothed is GroupInteraction else (2 * rate - 1) ** 2
    assert sum(p.numel() for p in smoothed(4, 6, rate).parameters()) == 9 * 4 * 6 + extra


def test_the_pair_is_added_to_the_map():
    context = SmoothedResidual(FeatureMap(8, 8)).eval()
    torch.nn.init.zeros_(context.pair[-1].weight)
    x = torch.randn(1, 8, 5, 6)
    assert torch.equal(context(x), x.relu())
