"""Semantic FPN: nearest pixels on the way down, turns of convolution and resize on the way up."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blocks.aligns.fpn import FeaturePyramid, SemanticBranches, SemanticFPN
from blocks.features import FeatureMap, Shapes


def test_each_pixel_receives_the_nearest_one_of_the_coarser_level():
    neck = FeaturePyramid((3, 4, 5), 6)
    levels = [torch.randn(2, 3, 9, 14), torch.randn(2, 4, 5, 7), torch.randn(2, 5, 2, 4)]
    merged = neck.laterals[2](levels[2])
    for place in (1, 0):
        finer = neck.laterals[place](levels[place])
        rows = [y * merged.shape[2] // finer.shape[2] for y in range(finer.shape[2])]
        columns = [x * merged.shape[3] // finer.shape[3] for x in range(finer.shape[3])]
        merged = finer + merged[:, :, rows][:, :, :, columns]
    torch.testing.assert_close(neck(levels)[0], neck.smooth[0](merged))


@pytest.mark.parametrize("align_corners", [False, True])
def test_a_branch_takes_a_turn_for_every_doubling_of_the_stride(align_corners):
    block = SemanticBranches((5, 6, 7, 8), (4, 8, 16, 32), 8, align_corners=align_corners).eval()
    levels = [torch.randn(1, width, 16 >> place, 24 >> place) for place, width in enumerate((5, 6, 7, 8))]
    assert [len(branch.convs) for branch in block.branches] == [1, 1, 2, 3]
    expected = block.branches[0].convs[0](levels[0])
    for level, branch in zip(levels[1:], block.branches[1:], strict=True):
        x = level
        for conv in branch.convs:
            x = F.interpolate(conv(x), scale_factor=2, mode="bilinear", align_corners=align_corners)
        expected = expected + x
    torch.testing.assert_close(block(levels), expected)


def test_strides_that_are_no_powers_of_two_apart_take_fewer_turns():
    block = SemanticBranches((4, 4, 4, 4), (4, 4, 6, 20), 8, align_corners=False).eval()
    assert [len(branch.convs) for branch in block.branches] == [1, 1, 1, 2]
    assert block([torch.randn(1, 4, *size) for size in ((15, 17), (15, 17), (10, 12), (3, 4))]).shape[2:] == (15, 17)


@pytest.mark.parametrize(("channels", "groups"), [(128, 32), (96, 32), (32, 16), (20, 4), (9, 1)])
def test_group_normalisation_keeps_groups_of_two_channels_or_more(channels, groups):
    source = Shapes(size=(32, 32), classes=3, pyramid=(FeatureMap(8, 4), FeatureMap(8, 8)))
    norms = [m for m in SemanticFPN(source, channels=channels, norm="group").modules() if isinstance(m, nn.GroupNorm)]
    assert [norm.num_groups for norm in norms] == [groups, groups]
