"""Point-wise spatial attention: masks over offsets, told apart by whose they are, at any size."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from blocks.contexts import psanet
from blocks.contexts.psanet import PointwiseSpatialAttention, PredictedAttention, SpatialAttention
from blocks.features import FeatureMap


def predicted(mask: tuple[int, int], **options: object) -> PredictedAttention:
    torch.manual_seed(0)
    given: dict[str, object] = {"collect": True, "compact": False, "shrink": 1, "softmax": True, "normalization": 1.0}
    attention = PredictedAttention(6, 5, mask, align_corners=True, **(given | options))
    torch.nn.init.normal_(attention.predict.weight)
    return attention.eval()


def pairs(attention: PredictedAttention, masks: Tensor, size: tuple[int, int]) -> Tensor:
    """What the masks say of each pair, offset by offset: (N, sources, targets), 0 beyond a mask."""
    height, width = size
    reach = [side // 2 for side in attention.mask]
    said = masks.new_zeros(len(masks), height * width, height * width)
    for (r, c), (y, x) in itertools.product(itertools.product(range(height), range(width)), repeat=2):
        own, other = (y, x), (r, c)  # the mask of a target looks at sources
        if not attention.collect:
            own, other = other, own  # that of a source at targets
        down, right = other[0] - own[0] + reach[0], other[1] - own[1] + reach[1]
        if 0 <= down < attention.mask[0] and 0 <= right < attention.mask[1]:
            value = masks[:, down * attention.mask[1] + right, own[0], own[1]]
            said[:, r * width + c, y * width + x] = value
    return said


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("collect", [True, False])
@pytest.mark.parametrize("mask", [(9, 13), (5, 7), (13, 17), (1, 1)], ids=["fits", "smaller", "larger", "own-pixel"])
def test_masks_lie_around_their_pixel(mask, collect, softmax):
    attention = predicted(mask, collect=collect, softmax=softmax, normalization=2.0)
    x = torch.randn(2, 6, 5, 7)
    values = attention.reduce(x)
    said = pairs(attention, attention.predict(attention.adapt(values)), (5, 7))
    # Over all sources of a target: what lies beyond a mask counts as exp(0).
    weights = said.softmax(dim=1) if softmax else said
    expected = (values.flatten(2) @ weights).reshape(2, 5, 5, 7) / 2
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("collect", [True, False])
def test_gradients_do_not_depend_on_what_is_computed_again(monkeypatch, collect):
    attention, x = predicted((9, 13), collect=collect), torch.randn(1, 6, 5, 7)
    gradients = []
    for most in (2**22, 0):
        monkeypatch.setattr(psanet, "_MOST_KEPT", most)
        gradients.append(torch.autograd.grad(attention(x).square().sum(), list(attention.parameters())))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("collect", [True, False])
def test_compact_masks_lie_over_the_map_and_are_transposed_to_distribute(collect):
    attention = predicted((5, 7), collect=collect, compact=True)
    x = torch.randn(2, 6, 5, 7)
    values = attention.reduce(x)
    masks = attention.predict(attention.adapt(values)).flatten(2)  # (N, what is looked at, whose mask)
    said = masks if collect else masks.transpose(1, 2)
    expected = (values.flatten(2) @ said.softmax(dim=1)).reshape(2, 5, 5, 7)
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "small"), [((9, 13), (5, 7)), ((8, 12), (4, 6)), ((1, 2), (1, 1))])
def test_pixels_are_moved_on_a_smaller_map_and_come_back(size, small):
    torch.manual_seed(0)
    attention = SpatialAttention(6, 5, (9, 13), shrink=2).eval()
    x = torch.randn(1, 6, *size)
    moved = torch.cat([branch(x) for branch in attention.branches], dim=1)
    assert moved.shape[2:] == small
    back = F.interpolate(attention.project(moved), size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(attention(x), torch.cat([x, back], dim=1))
    collect, distribute = attention.branches
    assert (collect.collect, distribute.collect) == (True, False)


@pytest.mark.parametrize(("compact", "mask"), [(False, (7, 15)), (True, (4, 8))])
def test_masks_reach_as_far_as_the_image_that_the_network_is_built_for(compact, mask):
    context = PointwiseSpatialAttention(FeatureMap(8, 8), (64, 128), channels=8, values=8, compact=compact)
    assert all(branch.mask == mask for branch in context.attention.branches)
