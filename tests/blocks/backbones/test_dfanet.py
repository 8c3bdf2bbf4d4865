"""DFANet: the published cost, and which map goes into which branch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blocks.backbones.dfanet import Aggregation, ClassAttention, Dfanet, XceptionBlock
from blocks.cost import cost_of_module
from blocks.features import Features, Shapes


def macs(variant, height, width):
    """Multiply-accumulates of an encoder, not built. [count]"""
    with torch.device("meta"):
        encoder = Dfanet(Shapes((height, width), 19), variant=variant)
        return cost_of_module(encoder, Features(torch.empty(1, 3, height, width))).macs


@pytest.mark.parametrize(("height", "width", "gmacs"), [(1024, 1024, 3.4), (512, 1024, 1.7)])
def test_it_costs_what_the_paper_prints(height, width, gmacs):
    assert macs("paper", height, width) / 1e9 == pytest.approx(gmacs, rel=0.005)


def test_the_reimplementation_costs_what_was_measured():
    """474.0 M at 256x256, of which its decoder has the most: all of it at a quarter of the resolution or less."""
    at = {stride: (256 // stride) ** 2 for stride in (4, 8, 16, 32, 64)}
    pointwise = 48 * 64 * (at[4] + at[8] + at[16]) + 192 * 64 * (at[16] + at[32] + at[64])
    decoder = pointwise + 9 * 64 * (64 + 19) * at[4]
    assert macs("huaifeng1993", 256, 256) + decoder == 948000768 // 2


@pytest.mark.parametrize("align_corners", [False, True])
def test_a_branch_starts_from_both_ends_of_the_one_before_and_reads_its_stages(align_corners):
    network = Aggregation(3, align_corners=align_corners).eval()
    x = torch.randn(2, 3, 65, 96)
    before = None
    fine, deep = [], []
    start = network.stem(x)
    for branch in network.branches:
        two, three, four = branch.stages
        if before is None:
            a = two(start)
            b = three(a)
            c = four(b)
        else:
            size = before[0].shape[-2:]
            enlarged = F.interpolate(before[3], size, mode="bilinear", align_corners=align_corners)
            a = two(torch.cat([before[0], enlarged], 1))
            b = three(torch.cat([a, before[1]], 1))
            c = four(torch.cat([b, before[2]], 1))
        before = (a, b, c, branch.attention(c))
        fine.append(a)
        deep.append(before[3])
    for ours, expected in zip(network(x), (*fine, *deep), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(
    ("variant", "inputs", "stride", "convolved"),
    [("paper", 8, 1, False), ("paper", 8, 2, True), ("paper", 12, 1, True), ("huaifeng1993", 8, 1, True)],
)
def test_the_shortcut_carries_the_map_as_it_came(variant, inputs, stride, convolved):
    block = XceptionBlock(inputs, 8, stride=stride, variant=variant)
    assert isinstance(block.shortcut, nn.Identity) != convolved
    x = torch.randn(2, inputs, 5, 7)
    kept = x.clone()
    torch.testing.assert_close(block(x), block.body(x) + block.shortcut(x))
    assert torch.equal(x, kept)


def test_attention_of_the_reimplementation_is_two_linear_layers_of_the_mean():
    attention = ClassAttention(4, variant="huaifeng1993")
    x = torch.randn(2, 4, 3, 5)
    squeeze, excite = (layer.weight[:, :, 0, 0] for layer in attention.weigh if isinstance(layer, nn.Conv2d))
    weights = torch.sigmoid(F.relu(x.mean((2, 3)) @ squeeze.T) @ excite.T)
    torch.testing.assert_close(attention(x), x * weights[:, :, None, None])
