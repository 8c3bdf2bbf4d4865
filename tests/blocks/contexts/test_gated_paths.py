"""Gated paths: views that grow along both axes, and a choice among them at every pixel."""

from __future__ import annotations

import torch

from blocks.contexts.gated_paths import GatedPaths, SuperNet
from blocks.features import FeatureMap


def test_the_view_grows_with_dilation_and_with_depth():
    grid = SuperNet(1, rates=(1, 3), depth=2).eval()
    for node in grid.nodes:
        torch.nn.init.ones_(node[0].weight)
    x = torch.zeros(1, 1, 41, 41)
    x[..., 20, 20] = 1.0
    reaches = [int((y[0, 0].nonzero() - 20).abs().max()) for y in grid(x)]
    # A node adds its dilation to the larger of the views that it reads.
    assert reaches == [1, 1 + 3, 1 + 1, 1 + 3 + 3]


def test_a_node_reads_the_sum_of_the_two_before_it():
    torch.manual_seed(0)
    grid = SuperNet(4, rates=(1, 2, 3), depth=2).eval()
    x = torch.randn(1, 4, 6, 5)
    maps = grid(x)
    assert len(maps) == 6
    torch.testing.assert_close(maps[0], grid.nodes[0](x))
    torch.testing.assert_close(maps[1], grid.nodes[1](x + maps[0]))
    torch.testing.assert_close(maps[3], grid.nodes[3](maps[0]))
    torch.testing.assert_close(maps[5], grid.nodes[5](maps[2] + maps[4]))


def test_every_pixel_chooses_for_itself():
    torch.manual_seed(0)
    context = GatedPaths(FeatureMap(6, 8), channels=8, width=8, rates=(1, 2), depth=2).eval()
    x = torch.randn(2, 6, 5, 7)
    maps = context.grid(context.reduce(x))
    torch.nn.init.normal_(context.gate.weight, std=3.0)
    logits = context.gate(torch.cat(maps, dim=1))
    chosen = torch.zeros_like(maps[0])
    for row in range(5):
        for column in range(7):
            weights = logits[..., row, column].softmax(dim=1)
            chosen[..., row, column] = sum(weights[:, i, None] * y[..., row, column] for i, y in enumerate(maps))
    torch.testing.assert_close(context(x), context.fuse(torch.cat([x, chosen], dim=1)))
