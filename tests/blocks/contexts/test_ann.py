"""Asymmetric non-local blocks: what is shared, what is sampled, and which levels are read."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blocks.contexts.ann import AsymmetricBlock, AsymmetricNonLocal
from blocks.features import FeatureMap, Features, Shapes, current

LEVELS = (FeatureMap(8, 8), FeatureMap(12, 16), FeatureMap(16, 32))


def awake(block: nn.Module) -> nn.Module:
    """A block in eval mode whose projections no longer give zeros, and whose normalisations do something."""
    for module in block.modules():
        if isinstance(module, AsymmetricBlock):
            nn.init.normal_(module.project.weight)
            nn.init.normal_(module.project.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
    return block.eval()


def cell_by_cell(x: torch.Tensor, bins: tuple[int, ...]) -> torch.Tensor:
    """Averages over grids of cells that may overlap by a pixel: (N, C, cells)."""
    (height, width), means = x.shape[2:], []
    for side in bins:
        for row in range(side):
            for column in range(side):
                top, left = row * height // side, column * width // side
                bottom, right = -(-(row + 1) * height // side), -(-(column + 1) * width // side)
                means.append(x[:, :, top:bottom, left:right].mean(dim=(2, 3)))
    return torch.stack(means, dim=2)


def test_of_one_map_queries_and_keys_share_a_projection():
    torch.manual_seed(0)
    block = awake(AsymmetricBlock(8, 6, keys=4, values=5, bins=(1, 3)))
    x = torch.randn(2, 8, 7, 5)
    queries = block.key(x)
    keys, values = cell_by_cell(queries, (1, 3)), cell_by_cell(block.value(x), (1, 3))
    weights = (torch.einsum("nkp,nka->npa", queries.flatten(2), keys) / 2).softmax(dim=2)
    taken = torch.einsum("npa,nva->nvp", weights, values).reshape(2, 5, 7, 5)
    conv, norm, _ = block.fuse[0]
    expected = F.relu(norm(conv(torch.cat((block.project(taken), x), dim=1))))
    torch.testing.assert_close(block(x), expected)


def test_of_two_maps_queries_come_from_the_high_one_and_nothing_is_rectified():
    torch.manual_seed(0)
    block = awake(AsymmetricBlock(6, 10, 8, keys=4, values=5, bins=(1, 2)))
    low, high = torch.randn(2, 6, 9, 11), torch.randn(2, 8, 4, 3)
    keys, values = cell_by_cell(block.key(low), (1, 2)), cell_by_cell(block.value(low), (1, 2))
    weights = (torch.einsum("nkp,nka->npa", block.query(high).flatten(2), keys) / 2).softmax(dim=2)
    taken = torch.einsum("npa,nva->nvp", weights, values).reshape(2, 5, 4, 3)
    conv, norm = block.fuse[0]
    expected = norm(conv(torch.cat((block.project(taken), high), dim=1)))
    assert expected.min() < 0
    torch.testing.assert_close(block(low, high), expected)


def test_a_step_moves_the_shared_statistics_once():
    block, x = AsymmetricBlock(8, 8, keys=4, values=4).train(), torch.randn(2, 8, 7, 5)
    block(x)
    torch.testing.assert_close(block.key[1].running_mean, 0.1 * block.key[0](x).mean(dim=(0, 2, 3)))


@pytest.mark.parametrize("slot", ["context", "refine"])
@pytest.mark.parametrize("fusion", [True, False])
def test_it_reads_the_level_before_the_last_only_to_fuse(fusion, slot):
    torch.manual_seed(0)
    source = Shapes(size=(64, 96), classes=5, pyramid=LEVELS, map=FeatureMap(10, 4) if slot == "refine" else None)
    maps = tuple(torch.randn(1, c, 64 // stride, 96 // stride) for c, stride in LEVELS)
    f = Features(torch.randn(1, 3, 64, 96), pyramid=maps, map=torch.randn(1, 10, 16, 24) if slot == "refine" else None)
    stage = awake(AsymmetricNonLocal(source, channels=8, fusion=fusion))

    def moved(level: int) -> bool:
        changed = f._replace(pyramid=tuple(m + torch.randn_like(m) * (i == level) for i, m in enumerate(maps)))
        before, after = (given.map if slot == "refine" else given.pyramid[-1] for given in (stage(f), stage(changed)))
        return not torch.allclose(before, after)

    assert [moved(level) for level in range(3)] == [False, fusion, slot == "context"]


@pytest.mark.parametrize("map", [None, FeatureMap(10, 4)], ids=["context", "refine"])
def test_beside_a_single_level_the_map_is_fused_with_averages_of_itself(map):
    source = Shapes(size=(64, 96), classes=5, pyramid=LEVELS[-1:], map=map)
    stage = awake(AsymmetricNonLocal(source, channels=8))
    level, x = torch.randn(1, 16, 2, 3), torch.randn(1, current(source).channels, 5, 7)
    f = Features(torch.randn(1, 3, 64, 96), pyramid=(x if map is None else level,), map=None if map is None else x)
    blocks = stage.blocks
    torch.testing.assert_close(current(stage(f)), blocks.pyramid(blocks.narrow(blocks.fusion(x, x))))
