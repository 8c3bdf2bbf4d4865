"""Criss-cross attention: one softmax over a pixel's row and column, in which it counts once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from blocks.contexts.ccnet import CrissCross, CrissCrossAttention
from blocks.features import FeatureMap


def awake(channels: int) -> CrissCrossAttention:
    torch.manual_seed(0)
    block = CrissCrossAttention(channels)
    nn.init.constant_(block.gamma, 0.7)
    return block


def pixel_by_pixel(block: CrissCrossAttention, x: Tensor) -> Tensor:
    query, key, value = block.query(x), block.key(x), block.value(x)
    given = x.clone()
    for image in range(len(x)):
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                cross = [(row, c) for c in range(x.shape[3])]
                cross += [(r, column) for r in range(x.shape[2]) if r != row]
                logits = torch.stack([query[image, :, row, column] @ key[image, :, r, c] for r, c in cross])
                values = torch.stack([value[image, :, r, c] for r, c in cross])
                given[image, :, row, column] += block.gamma[0] * (logits.softmax(dim=0) @ values)
    return given


@pytest.mark.parametrize("size", [(5, 7), (1, 6), (4, 1), (1, 1)])
def test_every_pixel_attends_to_its_cross(size):
    block, x = awake(16), torch.randn(2, 16, *size)
    torch.testing.assert_close(block(x), pixel_by_pixel(block, x))


def test_gradients_are_those_of_the_formula():
    block, x = awake(16), torch.randn(1, 16, 3, 4, requires_grad=True)
    ours, theirs = (torch.autograd.grad(f(x).square().sum(), [x, *block.parameters()]) for f in (block, slow(block)))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def slow(block: CrissCrossAttention):
    return lambda x: pixel_by_pixel(block, x)


def test_it_starts_as_the_identity():
    x = torch.randn(1, 16, 5, 7)
    torch.testing.assert_close(CrissCrossAttention(16)(x), x)


@pytest.mark.parametrize(("recurrence", "hears"), [(1, False), (2, True)])
def test_twice_is_enough_to_hear_of_every_pixel(recurrence, hears):
    block, x = awake(16).eval(), torch.randn(1, 16, 6, 6)
    moved = x.clone()
    moved[..., 5, 5] += 10.0
    ours, theirs = x, moved
    for _ in range(recurrence):
        ours, theirs = block(ours), block(theirs)
    assert torch.equal(ours[..., 0, 0], theirs[..., 0, 0]) is not hears


@pytest.mark.parametrize(("variant", "width", "act"), [("ccnet", 12, nn.LeakyReLU), ("mmseg", 20, nn.ReLU)])
def test_variants_differ_in_width_and_activation(variant, width, act):
    context = CrissCross(FeatureMap(48, 8), channels=20, variant=variant)
    assert context.attention.value.in_channels == width
    assert isinstance(context.reduce[2], act)
