"""Bilateral guided aggregation: who gates whom, at which resolution, and what the variants differ in."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blocks.aligns.bga import BilateralAggregation


@pytest.mark.parametrize(("variant", "mode"), [("paper", "bilinear"), ("coincheung", "nearest"), ("mmseg", "bilinear")])
def test_each_branch_gates_the_other_at_its_own_resolution(variant, mode):
    block = BilateralAggregation(5, 6, 8, variant=variant).eval()
    detail, semantic = torch.randn(2, 5, 16, 24), torch.randn(2, 6, 4, 6)
    gate = torch.sigmoid(F.interpolate(block.semantic_grown(semantic), scale_factor=4, mode=mode))
    fine = block.detail_kept(detail) * gate
    shrunk = F.avg_pool2d(block.detail_shrunk[0](detail), 3, 2, 1)
    coarse = F.interpolate(shrunk * block.semantic_kept(semantic).sigmoid(), scale_factor=4, mode=mode)
    torch.testing.assert_close(block(detail, semantic), block.fuse(fine + coarse))


def test_only_the_paper_ends_without_relu_and_only_mmsegmentation_adds_biases():
    ends, biases = {}, {}
    for variant in ("paper", "coincheung", "mmseg"):
        block = BilateralAggregation(5, 6, 8, variant=variant)
        ends[variant] = isinstance(block.fuse[-1], nn.ReLU)
        biases[variant] = sum(conv.bias is not None for conv in block.modules() if isinstance(conv, nn.Conv2d))
    assert ends == {"paper": False, "coincheung": True, "mmseg": True}
    assert biases == {"paper": 0, "coincheung": 0, "mmseg": 2}


@pytest.mark.parametrize(("ratio", "side"), [(1, 40), (2, 20), (3, 20), (4, 10), (8, 5)])
def test_detail_shrinks_by_the_ratio_of_the_strides(ratio, side):
    block = BilateralAggregation(5, 6, 8, ratio=ratio)
    assert block.detail_shrunk(torch.randn(1, 5, 40, 40)).shape[2:] == (side, side)
