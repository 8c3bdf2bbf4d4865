"""DF1 and DF2: cost and shape of the published networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blocks.backbones.df import Df1, Df2, ResidualBlock
from blocks.cost import cost_of_module
from blocks.features import Features, Shapes

SOURCE = Shapes((224, 224), 5)


@pytest.mark.parametrize(("kind", "gmacs"), [(Df1, 0.746), (Df2, 1.77)])
def test_it_costs_what_the_authors_print(kind, gmacs):
    """At 224x224, with a classifier of 1000 classes."""
    with torch.device("meta"):
        cost = cost_of_module(kind(SOURCE), Features(torch.empty(1, 3, 224, 224)))
    assert (cost.macs + 512 * 1000) / 1e9 == pytest.approx(gmacs, rel=0.005)


@pytest.mark.parametrize(
    ("kind", "blocks", "widths"),
    [(Df1, [3, 3, 4], [64, 64, 128, 512]), (Df2, [3, 11, 6], [64, 128, 256, 512])],
)
def test_blocks_and_widths_of_each_stage(kind, blocks, widths):
    with torch.device("meta"):
        encoder = kind(SOURCE)
    assert [len(stage) for stage in encoder.network.stages[1:]] == blocks
    assert [tuple(level) for level in encoder.out.pyramid] == list(zip(widths, (4, 8, 16, 32), strict=True))


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(8, 8, 1), (8, 8, 2), (8, 16, 1)])
def test_the_shortcut_is_convolved_where_stride_or_width_change(inputs, outputs, stride):
    block = ResidualBlock(inputs, outputs, stride=stride)
    assert isinstance(block.shortcut, nn.Identity) == (inputs == outputs and stride == 1)
    x = torch.randn(2, inputs, 5, 7)
    torch.testing.assert_close(block(x), (block.body(x) + block.shortcut(x)).relu())


@pytest.mark.parametrize("kind", [Df1, Df2])
def test_levels_counts_from_the_deepest(kind):
    encoder = kind(SOURCE._replace(image_channels=1), levels=2)
    maps = encoder(Features(torch.rand(1, 1, 33, 40))).pyramid
    assert [level.stride for level in encoder.out.pyramid] == [16, 32]
    assert [tuple(m.shape[1:]) for m in maps] == [
        (level.channels, *s) for level, s in zip(encoder.out.pyramid, [(3, 3), (2, 2)], strict=True)
    ]
