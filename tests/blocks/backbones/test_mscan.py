"""MSCAN: the strips' lengths, sizes, scales."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blocks.backbones.mscan import MultiScaleAttention, StripAttention, StripBlock
from blocks.cost import cost_of_module
from blocks.features import Features, Shapes

SOURCE = Shapes((512, 512), 150)


def sized(size: str, **options) -> MultiScaleAttention:
    with torch.device("meta"):
        return MultiScaleAttention(SOURCE, size=size, **options)


# In millions, as the paper prints them for ImageNet, less a classifier of 1000 classes.
@pytest.mark.parametrize(("size", "millions"), [("tiny", 4.2), ("small", 13.9), ("base", 26.8), ("large", 45.2)])
def test_each_size_has_the_published_parameters(size, millions):
    model = sized(size)
    count = sum(p.numel() for p in model.parameters()) + 1000 * model.out.pyramid[-1].channels + 1000
    assert count / 1e6 == pytest.approx(millions, rel=0.02)


def test_tiny_has_the_parameters_and_the_cost_of_the_measured_network():
    """Measured: SegNeXt-T of 150 classes; its head squeezes three levels to 256 channels at stride 8."""
    with torch.device("meta"):
        cost = cost_of_module(sized("tiny"), Features(torch.empty(1, 3, 512, 512)))
    products = (64 + 160 + 256) * 256 + 3 * 256 * 256 + 256 * 150
    head = products + 3 * 2 * 256 + 256 + 150  # three normalisations, a bias before the hamburger, the classifier's
    assert cost.params + head == 4_263_414
    assert (cost.macs_conv + products * 64 * 64) / 1e9 == pytest.approx(6.102, abs=0.0005)


def test_weights_come_from_a_square_and_three_strips():
    """On ones, kernels of ones count the pixels that each sees."""
    module = StripAttention(2)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
    module.mix.weight.data = torch.eye(2).reshape(2, 2, 1, 1)
    given = module(3 * torch.ones(1, 2, 51, 51))
    seen = 25 * (1 + 7**2 + 11**2 + 21**2)
    torch.testing.assert_close(given[..., 25, 25], torch.full((1, 2), 3.0 * 3 * seen))


def test_at_first_a_block_changes_little_and_its_inner_shortcut_carries_the_normalised_map():
    block = StripBlock(4, expansion=2).eval()
    for part in (block.attention[-1], block.feed_forward[-1]):
        nn.init.zeros_(part.weight)
        nn.init.zeros_(part.bias)
    x = torch.rand(1, 4, 5, 6)
    torch.testing.assert_close(block(x), x + 0.01 * block.norm1(x))


def test_stochastic_depth_rises_to_its_rate():
    model = sized("small", drop_path=0.9)
    rates = [getattr(m.drop, "drop_prob", 0.0) for m in model.modules() if isinstance(m, StripBlock)]
    assert rates == pytest.approx([place / 10 for place in range(10)])


@pytest.mark.parametrize(("levels", "strides"), [(1, [32]), (3, [8, 16, 32])])
def test_levels_counts_from_the_deepest(levels, strides):
    assert [level.stride for level in sized("tiny", levels=levels).out.pyramid] == strides


def test_a_tiny_image_passes():
    model = MultiScaleAttention(SOURCE._replace(image_channels=4)).train()
    maps = model(Features(torch.rand(1, 4, 5, 7))).pyramid
    assert [tuple(m.shape[2:]) for m in maps] == [(2, 2), (1, 1), (1, 1), (1, 1)]
