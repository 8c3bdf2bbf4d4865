"""Low-rank reconstruction against a sum of rank-1 tensors, each as large as the map."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from blocks.contexts.reconet import LowRankContext, TensorReconstruction
from blocks.features import FeatureMap


def one_by_one(block: TensorReconstruction, x: Tensor, weights: Tensor, *, swapped: bool) -> Tensor:
    """The formula of the paper at the size of the block: outer products, added up one after the other."""
    rows, columns = x.mean(dim=(1, 3)), x.mean(dim=(1, 2))
    if swapped:
        rows, columns = columns, rows
    total = torch.zeros_like(x)
    for k, weight in enumerate(weights):
        c = torch.sigmoid(x.mean(dim=(2, 3)) @ block.channel[k].weight.T)
        h = torch.sigmoid(rows @ block.height[k].weight.T)
        w = torch.sigmoid(columns @ block.width[k].weight.T)
        total += weight * c[:, :, None, None] * h[:, None, :, None] * w[:, None, None, :]
    return torch.cat([x, torch.relu(x * total)], dim=1)


def test_the_trained_form_is_the_papers_sum():
    torch.manual_seed(0)
    block = TensorReconstruction(8, (5, 7), 3, align_corners=False)
    with torch.no_grad():
        block.mixing.copy_(torch.tensor([0.0, 1.0, -2.0]))
    x = torch.randn(2, 8, 5, 7)
    weights = torch.tensor([1.0, 2.718281828, 0.135335283])
    torch.testing.assert_close(block(x), one_by_one(block, x, weights / weights.sum(), swapped=False))


def test_the_released_form_swaps_the_axes_and_learns_no_weights():
    torch.manual_seed(0)
    block = TensorReconstruction(8, (6, 6), 4, align_corners=False, variant="released")
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(block(x), one_by_one(block, x, torch.full((4,), 0.25), swapped=True))
    assert not torch.allclose(block(x), one_by_one(block, x, torch.full((4,), 0.25), swapped=False))
    assert sum(p.numel() for p in block.parameters()) == 4 * (8**2 + 2 * 6**2)


def test_the_weights_of_the_sum_learn():
    block = TensorReconstruction(8, (5, 7), 3, align_corners=False)
    block(torch.rand(2, 8, 5, 7)).square().sum().backward()
    assert block.mixing.grad.abs().min() > 0


@pytest.mark.parametrize("variant", ["trained", "released"])
def test_a_constant_map_is_weighed_alike_at_every_size(variant):
    torch.manual_seed(0)
    block = TensorReconstruction(8, (6, 6), 4, align_corners=True, variant=variant)
    small, large = (block(torch.full((1, 8, *size), 0.5)) for size in ((6, 6), (11, 21)))
    # With corners aligned, every second row and fourth column of the larger map falls on one of the smaller.
    torch.testing.assert_close(large[..., ::2, ::4], small)


def test_generators_take_the_size_of_the_image_over_the_stride():
    block = LowRankContext(FeatureMap(16, 8), (60, 100), channels=8, rank=2).reconstruction
    assert [generators[0].in_features for generators in (block.channel, block.height, block.width)] == [8, 8, 13]
