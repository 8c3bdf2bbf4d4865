"""Focal self-attention against rolled maps and single windows, as the authors' code goes about it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.contexts.focal import FocalBlock, FocalSelfAttention
from blocks.errors import BlockError
from blocks.features import FeatureMap


def shaken(block):
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return block.eval()


def naive(block, x, *, window, expand, levels, focal_window):
    """One window at a time; the ring from four rolled maps, the coarse cells one by one."""
    count, channels, height, width = x.shape
    attention, x = block.attention, x.permute(0, 2, 3, 1)
    heads = attention.heads
    normed = F.pad(block.norm1(x), (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = normed.shape[1] // window, normed.shape[2] // window
    query, key, value = attention.qkv(normed).chunk(3, dim=-1)
    coarse = [attention.qkv(cells).chunk(3, dim=-1)[1:] for cells in pooled(block, normed, window)]
    out = torch.zeros_like(normed)
    for i in range(rows):
        for j in range(columns):
            here = (slice(None), slice(i * window, (i + 1) * window), slice(j * window, (j + 1) * window))
            keys, values = [key[here].flatten(1, 2)], [value[here].flatten(1, 2)]
            near = torch.arange(window)
            outside = [((near + down < 0) | (near + down >= window)) for down in (expand, -expand)]
            for down in (expand, -expand):
                for right in (expand, -expand):
                    free = outside[down < 0][:, None] | outside[right < 0]
                    for parts, whole in ((keys, key), (values, value)):
                        parts.append(whole.roll((-down, -right), (1, 2))[here][:, free])
            bias = [relative(attention.own.T, window, window), *([attention.ring[0]] if expand else [])]
            for level in range(levels - 1):
                side = 2 * (focal_window // 2) + 2**level
                table = relative(attention.coarse[level], window, side).clone()
                cells = [torch.zeros(count, side**2, channels) for _ in range(2)]
                for n in range(side**2):
                    r = i * 2**level - focal_window // 2 + n // side
                    c = j * 2**level - focal_window // 2 + n % side
                    if 0 <= r < rows * 2**level and 0 <= c < columns * 2**level:
                        for part, whole in zip(cells, coarse[level], strict=True):
                            part[:, n] = whole[:, r, c]
                    else:
                        table[:, :, n] -= 100
                keys.append(cells[0])
                values.append(cells[1])
                bias.append(table)
            q, k, v = (
                t.unflatten(2, (heads, -1)).transpose(1, 2)
                for t in (query[here].flatten(1, 2), torch.cat(keys, 1), torch.cat(values, 1))
            )
            weights = (q @ k.transpose(2, 3) / (channels // heads) ** 0.5 + torch.cat(bias, -1)).softmax(-1)
            out[here] = (weights @ v).transpose(1, 2).reshape(count, window, window, channels)
    x = x + attention.project(out)[:, :height, :width]
    return (x + block.mlp(block.norm2(x))).permute(0, 3, 1, 2)


def pooled(block, normed, window):
    """Of each level, the cells in the middle of the map, one by one."""
    for level, pool in enumerate(block.pools):
        side = window >> level
        rows, columns = (full // window * 2**level for full in normed.shape[1:3])
        top, left = (normed.shape[1] - rows * side) // 2, (normed.shape[2] - columns * side) // 2
        cells = torch.zeros(len(normed), rows, columns, normed.shape[3])
        for i in range(rows):
            for j in range(columns):
                part = normed[:, top + i * side :, left + j * side :][:, :side, :side].flatten(1, 2)
                cells[:, i, j] = torch.einsum("npc,p->nc", part, pool.weight[0]) + pool.bias
        yield cells


def relative(table, queries, keys):
    """(heads, queries ** 2, keys ** 2): the entry of each pair by the rows and columns between them."""
    entries = [
        table[:, (q // queries - k // keys + keys - 1) * (queries + keys - 1) + q % queries - k % keys + keys - 1]
        for q in range(queries**2)
        for k in range(keys**2)
    ]
    return torch.stack(entries, 1).reshape(-1, queries**2, keys**2)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((9, 6), {"window": 3, "expand": 1, "levels": 2, "focal_window": 3}),
        ((8, 13), {"window": 4, "expand": 2, "levels": 2, "focal_window": 1}),
        # Cells of the second coarse level do not fill windows of 5: they come from the middle of the map.
        ((11, 15), {"window": 5, "expand": 2, "levels": 3, "focal_window": 3}),
        ((1, 4), {"window": 3, "expand": 0, "levels": 1, "focal_window": 7}),
    ],
)
def test_it_sees_what_single_windows_of_rolled_maps_see(size, options):
    torch.manual_seed(0)
    block = shaken(FocalBlock(8, heads=2, **options))
    x = torch.randn(2, 8, *size)
    with torch.no_grad():
        torch.testing.assert_close(block(x), naive(block, x, **options), rtol=1e-4, atol=1e-5)


def test_each_place_in_the_ring_learns_its_own_bias_where_two_copies_show_one_pixel():
    torch.manual_seed(0)
    block = FocalBlock(4, heads=1, window=3, expand=1)
    assert block.attention.ring.shape == (1, 1, 9, 4 * 9 - 4 * 4)
    block(torch.randn(1, 4, 6, 6)).square().sum().backward()
    assert block.attention.ring.grad.isfinite().all()
    assert block.attention.ring.grad.ne(0).all()


def test_pooling_starts_as_the_mean():
    x = torch.randn(1, 4, 6, 9)
    torch.testing.assert_close(
        FocalBlock(4, heads=1, window=3, expand=1)._pooled(x, 0).permute(0, 3, 1, 2), F.avg_pool2d(x, 3)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expand": 4}, "Lower expand"),
        ({"focal_window": 4}, "Use 3 or 5"),
        ({"window": 3, "expand": 1, "levels": 4}, "Use fewer levels"),
    ],
)
def test_what_cannot_be_built_says_what_to_change(options, message):
    with pytest.raises(BlockError, match=message):
        FocalSelfAttention(FeatureMap(8, 8), **options)
