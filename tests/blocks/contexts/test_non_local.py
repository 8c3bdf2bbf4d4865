"""The non-local block against the matrix of all pairs of pixels."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from blocks.contexts.non_local import Mode, NonLocal, NonLocalBlock
from blocks.features import FeatureMap

MODES = get_args(Mode)


def awake(block: NonLocalBlock) -> NonLocalBlock:
    """A block in eval mode whose projection no longer gives zeros."""
    nn.init.normal_(block.project[1].weight)
    return block.eval()


def by_pairs(block: NonLocalBlock, x: torch.Tensor) -> torch.Tensor:
    """Equation 1, pixel by pixel and pair by pair."""
    value = block.value(x)
    query, key = (x, x) if block.mode == "gaussian" else (block.query(x), block.key(x))
    if block.sub_sample:
        down = [2 if side > 1 else 1 for side in x.shape[2:]]
        key, value = (F.max_pool2d(each, down) for each in (key, value))
    query, key, value = (each.flatten(2).transpose(1, 2) for each in (query, key, value))
    pairs = torch.stack([query[:, i : i + 1] * key for i in range(query.shape[1])], dim=1)  # (N, L, M, K)
    if block.mode == "concatenation":
        both = torch.cat(torch.broadcast_tensors(query[:, :, None], key[:, None]), dim=3)
        weights = F.relu(F.linear(both, block.likeness.weight.flatten(1)))[..., 0] / key.shape[1]
    elif block.mode == "dot_product":
        weights = pairs.sum(dim=3) / key.shape[1]
    else:
        weights = (pairs.sum(dim=3) * block.scale).softmax(dim=2)
    taken = (weights.unsqueeze(3) * value.unsqueeze(1)).sum(dim=2)
    return x + block.project(taken.transpose(1, 2).reshape(len(x), -1, *x.shape[2:]))


@pytest.mark.parametrize("size", [(5, 7), (1, 4), (1, 1)])
@pytest.mark.parametrize("sub_sample", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_it_is_the_sum_over_all_pairs(mode, sub_sample, size):
    torch.manual_seed(0)
    block = awake(NonLocalBlock(8, 4, mode=mode, sub_sample=sub_sample))
    x = torch.randn(2, 8, *size, requires_grad=True)
    given, expected = block(x), by_pairs(block, x)
    torch.testing.assert_close(given, expected)
    wanted = (x, *(p for name, p in block.named_parameters() if not name.startswith("project")))
    gradients = (torch.autograd.grad(y.square().sum(), wanted) for y in (given, expected))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_only_the_embedded_products_are_scaled_and_only_if_asked():
    scales = {
        (mode, scaled): NonLocalBlock(8, 4, mode=mode, scaled=scaled).scale for mode in MODES for scaled in (0, 1)
    }
    assert scales.pop(("embedded_gaussian", 1)) == 0.5
    assert set(scales.values()) == {1.0}


@pytest.mark.parametrize("mode", MODES)
def test_the_matrix_of_pairs_is_not_kept(mode):
    block, pixels = NonLocalBlock(8, 4, mode=mode), 48 * 48
    largest = 0

    def keep(saved: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, saved.untyped_storage().nbytes() // saved.element_size())
        return saved

    with saved_tensors_hooks(keep, lambda saved: saved):
        block(torch.randn(1, 8, 48, 48))
    assert largest < pixels**2 / 10


def test_a_bare_block_is_an_identity_at_first_and_keeps_the_width():
    context = NonLocal(FeatureMap(24, 8), flanks=False).eval()
    assert context.out == FeatureMap(24, 8)
    x = torch.randn(2, 24, 5, 3)
    assert torch.equal(context(x), x)


def test_the_head_fuses_what_it_found_with_what_came_in():
    context = NonLocal(FeatureMap(24, 8), channels=16).eval()
    assert context.out == FeatureMap(16, 8)
    before, after, fuse = (getattr(context.block, name)[0] for name in ("before", "after", "fuse"))
    assert [(c.in_channels, c.kernel_size) for c in (before, after, fuse)] == [(24, (3, 3)), (16, (3, 3)), (40, (3, 3))]
