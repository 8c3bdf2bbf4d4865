"""Dual graph convolution against its formulas, one image at a time and in the order of the paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from blocks.contexts.dgcnet import CoordinateGraph, DualGraph, FeatureGraph


def settled(block: nn.Module) -> nn.Module:
    """Give every normalisation statistics of its own, so that leaving one out shows."""
    for part in block.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.5, 0.5)
            nn.init.uniform_(part.running_var, 0.5, 2)
    return block.eval()


def matrix(conv: nn.Conv2d) -> Tensor:
    return conv.weight.flatten(1)


def test_positions_reason_through_a_softmax_over_the_last_channels():
    torch.manual_seed(0)
    block = settled(CoordinateGraph(6, 3))
    x = torch.randn(2, 6, 17, 30)
    small = block.down(x)
    assert small.shape[2:] == (3, 4)
    for image, given in zip(small, block(x), strict=True):
        key, value, query = (
            matrix(p) @ image.flatten(1) + p.bias[:, None] for p in (block.key, block.value, block.query)
        )
        product = query @ value.T
        weights = product.exp() / product.exp().sum(dim=1, keepdim=True)
        gathered = (key.T @ weights).T.reshape(1, 3, 3, 4)
        torch.testing.assert_close(given, torch.relu(block.back(block.update(gathered))[0] + image))


def test_the_convolved_graph_of_features_is_added():
    torch.manual_seed(0)
    block = settled(FeatureGraph(8, 2))
    x = torch.randn(2, 8, 5, 3)
    for image, given in zip(x, block(x), strict=True):
        reduced, assigned = (part(image[None])[0].flatten(1) for part in (block.reduce, block.assign))
        states = reduced @ assigned.T  # (channels of a node, nodes)
        smoothed = states + block.adjacency(states.T[None, ..., None])[0, ..., 0].T
        updated = block.update(smoothed[None, ..., None])[0, ..., 0]
        pixels = (updated @ assigned).reshape(1, 4, 5, 3)
        torch.testing.assert_close(given, torch.relu(image + block.norm(block.back(pixels))[0]))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 2)])
def test_small_maps_train_at_batch_1(size):
    block = DualGraph(8, reduction=16, align_corners=True)
    x = torch.randn(1, 8, *size)
    fused = block(x)
    fused.square().sum().backward()
    assert fused.shape == x.shape
    assert all(p.grad.isfinite().all() for p in block.parameters())


def test_the_result_is_not_rectified():
    torch.manual_seed(0)
    assert (DualGraph(8, align_corners=True).eval()(torch.randn(1, 8, 9, 9)) < 0).any()
