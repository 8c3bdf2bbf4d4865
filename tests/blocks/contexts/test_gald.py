"""Global aggregation and local distribution: the compact non-local in full, and maps of every size."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.contexts.gald import AggregationDistribution, GlobalLocal, GroupedAggregation, LocalDistribution
from blocks.features import FeatureMap


def test_it_is_the_full_product_over_pixels_and_channels_of_each_group():
    torch.manual_seed(0)
    block = GroupedAggregation(8, 4, groups=2)
    x = torch.randn(2, 8, 3, 5)
    parts = []
    for theta, phi, g in zip(
        *(project(x).chunk(2, dim=1) for project in (block.theta, block.phi, block.g)), strict=True
    ):
        likeness = theta.flatten(1).unsqueeze(2) * phi.flatten(1).unsqueeze(
            1
        )  # (N, 30, 30): everything with everything
        parts.append((likeness @ g.flatten(1).unsqueeze(2)).reshape(theta.shape))
    back = F.conv2d(torch.cat(parts, dim=1), block.back.weight, groups=2)
    torch.testing.assert_close(block(x), F.group_norm(back, 2, block.norm.weight, block.norm.bias) + x)


def test_the_way_down_is_unpadded_from_15_px_on():
    block = LocalDistribution(2, align_corners=True).eval()
    x = torch.randn(1, 2, 15, 33)
    assert [step(x).shape[2:] for step in (block.down[:1], block.down[:2], block.down)] == [(7, 16), (3, 7), (1, 3)]
    plain = x
    for step in block.down:
        conv, norm, _ = step.conv
        plain = norm(F.conv2d(plain, conv.weight, conv.bias, stride=2, groups=2)).relu()
    gate = F.interpolate(plain, (15, 33), mode="bilinear", align_corners=True).sigmoid()
    torch.testing.assert_close(block(x), x + x * gate)


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (5, 3), (14, 14)])
def test_smaller_maps_are_padded_to_a_kernel(size):
    block = AggregationDistribution(8, 4, groups=2, align_corners=False).eval()
    x = torch.randn(2, 8, *size)
    assert block(x).shape == x.shape
    assert block(x).isfinite().all()


def test_a_single_pixel_is_seen_by_the_middle_of_the_kernel():
    down = AggregationDistribution(8, 4, groups=2, align_corners=False).eval().down
    x = torch.randn(2, 8, 1, 1)
    conv, norm, _ = down.conv
    torch.testing.assert_close(down(x), norm(x * conv.weight[:, 0, 1, 1, None, None] + conv.bias[:, None, None]).relu())


@pytest.mark.parametrize(("channels", "groups"), [(512, 8), (24, 4), (100, 2), (18, 1)])
def test_groups_divide_whatever_channels_there_are(channels, groups):
    assert GlobalLocal(FeatureMap(48, 8), channels=channels).block.block.aggregate.groups == groups
