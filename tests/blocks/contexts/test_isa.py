"""Interlaced sparse attention: far pixels first, near ones next, zeros in the padding that are looked at."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from blocks.contexts.isa import InterlacedAttention, InterlacedSparseAttention
from blocks.features import FeatureMap
from blocks.layers import BatchNorm


def block(window: tuple[int, int], **options: str) -> InterlacedAttention:
    torch.manual_seed(0)
    return InterlacedAttention(6, 6, 4, 5, window, **options).eval()


def masked(attention, x: Tensor, allowed: Tensor) -> Tensor:
    """Full attention in which a pixel may look at some others only."""
    query, key, value = (f(x).flatten(2).transpose(1, 2) for f in (attention.query, attention.key, attention.value))
    logits = (query @ key.transpose(1, 2) * attention.scale).masked_fill(~allowed, -torch.inf)
    found = (logits.softmax(dim=2) @ value).transpose(1, 2)
    return attention.up(found.reshape(*found.shape[:2], *x.shape[2:]))


@pytest.mark.parametrize("variant", ["openseg", "mmseg"])
@pytest.mark.parametrize(("size", "window"), [((8, 12), (4, 4)), ((7, 9), (4, 2)), ((1, 1), (3, 3))])
def test_it_is_full_attention_with_far_pixels_then_with_near_ones(size, window, variant):
    attention, x = block(window, variant=variant), torch.randn(2, 6, *size)
    down, right = (-side % step for side, step in zip(size, window, strict=True))
    around = (right // 2, right - right // 2, down // 2, down - down // 2)
    wide = torch.nn.functional.pad(x, around)
    rows, columns = (c.flatten() for c in torch.meshgrid(*map(torch.arange, wide.shape[2:]), indexing="ij"))
    place = torch.stack([rows % window[0], columns % window[1]])
    cell = torch.stack([rows // window[0], columns // window[1]])
    far, near = ((which[:, :, None] == which[:, None]).all(dim=0) for which in (place, cell))
    context = masked(attention.near, masked(attention.far, wide, far), near)
    context = context[..., around[2] : around[2] + size[0], around[0] : around[0] + size[1]]
    both = [context, x] if variant == "mmseg" else [x, context]
    torch.testing.assert_close(attention(x), attention.fuse(torch.cat(both, dim=1)))


def test_two_sparse_steps_reach_every_pixel():
    attention, x = block((3, 3)), torch.randn(1, 6, 9, 9)
    for module in attention.modules():
        if isinstance(module, BatchNorm):
            torch.nn.init.constant_(module.bias, 1.0)  # nothing is cut off by the ReLUs
    moved = x.clone()
    moved[..., 8, 7] += 3.0
    changed = (attention(x) != attention(moved)).any(dim=1)
    assert changed.all()


def test_only_mmsegs_values_have_a_bias():
    for variant, biased in (("openseg", False), ("mmseg", True)):
        context = InterlacedSparseAttention(FeatureMap(8, 8), channels=8, variant=variant)
        assert (context.attention.far.value.bias is not None) is biased
        assert (context.reduce[0].bias is not None) is not biased
