"""HRNet with gates: how many, where they sit, and that the rest is timm's."""

from __future__ import annotations

import pytest
import torch
from timm.models.resnet import BasicBlock, Bottleneck

from blocks.backbones.psa_hrnet import PolarizedHRNet
from blocks.backbones.timm import Timm
from blocks.features import Features, Shapes

SOURCE = Shapes((64, 96), 5)
# Modules of four blocks a branch, stage by stage; the branches of a stage are the finest ones.
STAGES = ((1, 2), (4, 3), (3, 4))


def gates(width: int, mode: str) -> int:
    """Parameters of the published gates over all branches. [count]"""
    total = 0
    for modules, branches in STAGES:
        for branch in range(branches):
            channels = width << branch
            half, eighth = channels // 2, channels // 8
            one = channels + 3 * channels * half
            if mode == "parallel":
                one += half * channels
            else:
                one += half * eighth + eighth + 2 * eighth + eighth * channels + channels
            total += 4 * modules * one
    return total


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
@pytest.mark.parametrize(("model", "width"), [("hrnet_w18", 18), pytest.param("hrnet_w48", 48, marks=pytest.mark.slow)])
def test_every_basic_block_has_one_gate(model, width, mode):
    with torch.device("meta"):
        plain, gated = Timm(SOURCE, model=model), PolarizedHRNet(SOURCE, model=model, mode=mode)
    assert gated.out == plain.out
    count = [sum(p.numel() for p in module.parameters()) for module in (plain, gated)]
    assert count[1] - count[0] == gates(width, mode)


def test_a_gate_sits_between_the_convolutions_and_bottlenecks_have_none():
    built = PolarizedHRNet(SOURCE, model="hrnet_w18_small", mode="sequential").eval()
    block = next(part for part in built.modules() if isinstance(part, BasicBlock))
    x = torch.randn(1, block.conv1.in_channels, 6, 5)
    inner = block.bn1(block.conv1(x)).relu()
    gated = inner * block.aa.channel(inner)
    gated = gated * block.aa.spatial(gated)
    torch.testing.assert_close(block(x), (block.bn2(block.conv2(gated)) + x).relu())
    bottlenecks = [part for part in built.modules() if isinstance(part, Bottleneck)]
    assert bottlenecks
    assert not any(list(part.aa.parameters()) for part in bottlenecks)


def test_without_its_gates_it_is_timms_network():
    torch.manual_seed(0)
    plain = Timm(SOURCE, model="hrnet_w18_small").eval()
    gated = PolarizedHRNet(SOURCE, mode="sequential").eval()
    gated.encoder.load_state_dict(plain.state_dict(), strict=False)
    for block in gated.modules():
        if isinstance(block, BasicBlock):
            block.aa = torch.nn.Identity()
    f = Features(torch.rand(1, 3, 64, 96))
    for ours, theirs in zip(gated(f).pyramid, plain(f).pyramid, strict=True):
        torch.testing.assert_close(ours, theirs)
