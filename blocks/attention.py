"""What methods of attention share: maps as tokens, softmax attention in linear memory, ways to cut a map into parts."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_MOST_LOGITS = 2**22  # at a time: 16 MiB in float32, which stay near the processor
_MOST_ON_DEVICE = 2**26  # where small portions would leave a GPU waiting for the next

Size = tuple[int, int]


def tokens(x: Tensor) -> Tensor:
    """Turn a map into its pixels, row by row.

    Shape:
        input:  (N, C, H, W)
        output: (N, H * W, C)
    """
    return x.flatten(2).transpose(1, 2)


def as_map(x: Tensor, size: Size) -> Tensor:
    """Turn pixels, row by row, back into a map.

    Shape:
        input:  (N, H * W, C)
        output: (N, C, H, W)

    Args:
        x: the pixels.
        size: height and width. [px]
    """
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *size)


def attend(query: Tensor, key: Tensor, value: Tensor, *, scale: float, bias: Tensor | None = None) -> Tensor:
    """Average the values, weighed by softmax(scale * query . key + bias) over the keys.

    Memory grows with L + M, not with L * M: keys and values of one width go to torch's own fused attention; where the
    widths differ, which torch answers with the whole matrix, queries are taken in portions whose weights are computed
    again for the gradient. (A bias is a matrix in any case.)

    Shape:
        query: (..., L, K)
        key:   (..., M, K)
        value: (..., M, V)
        bias:  broadcasts to (..., L, M)
        output: (..., L, V)

    Args:
        query: who looks.
        key: what is looked at.
        value: what is taken from there.
        scale: of the products; 1 where a paper has none.
        bias: added to the scaled products: relative positions, or -inf where nothing may be taken.
    """
    if query.shape[-1] == value.shape[-1] or bias is not None:
        return _fused(query, key, value, scale, bias)
    # Where memory costs nothing (the meta device) portions would only be slow, and tracers plan memory for themselves;
    # what is exported must not depend on how many images there are.
    if query.is_meta or torch.compiler.is_compiling() or (portion := portion_of(query, key)) >= query.shape[-2]:
        return _weights(query, key, scale) @ value
    flat = (x.reshape(-1, *x.shape[-2:]) for x in (query, key, value))
    found: Tensor = _Portions.apply(*flat, scale, portion)
    return found.reshape(*query.shape[:-1], -1)


def portion_of(query: Tensor, key: Tensor) -> int:
    """How many of the queries (..., L, K) meet all keys (..., M, K) at a time, lest their matrix grow. [count]"""
    most = _MOST_LOGITS if query.device.type == "cpu" else _MOST_ON_DEVICE
    return min(query.shape[-2], max(16, most // key.shape[:-1].numel()))


def _fused(query: Tensor, key: Tensor, value: Tensor, scale: float, bias: Tensor | None) -> Tensor:
    # What has no four dimensions, or pixels that do not lie in one piece, gets the whole matrix from torch.
    lead = query.shape[:-2]
    heads = lead if len(lead) == 2 else (math.prod(lead), 1)
    q, k, v = (x.reshape(*heads, *x.shape[-2:]).contiguous() for x in (query, key, value))
    if bias is not None:
        bias = bias.expand(*lead, query.shape[-2], key.shape[-2]).reshape(*heads, query.shape[-2], key.shape[-2])
    found = F.scaled_dot_product_attention(q, k, v, bias, scale=scale)
    return found.reshape(*lead, *found.shape[-2:])


def _weights(query: Tensor, key: Tensor, scale: float) -> Tensor:
    return (query * scale @ key.transpose(-2, -1)).softmax(dim=-1)


class _Portions(torch.autograd.Function):
    """Attention of a portion of the queries at a time; the gradient computes their weights again, and nothing else."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, portion: int) -> Tensor:  # noqa: PLR0917 - torch hands them over by place
        ctx.save_for_backward(query, key, value)
        ctx.scale, ctx.portion = scale, portion
        with torch.autocast(query.device.type, enabled=False):
            parts = torch.split(query, portion, dim=1)
            return torch.cat([_weights(part, key, scale) @ value for part in parts], dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        of_query, of_key, of_value = [], torch.zeros_like(key), torch.zeros_like(value)
        both = (torch.split(x, ctx.portion, dim=1) for x in (query, gradients[0]))
        for part, gradient in zip(*both, strict=True):
            weights = _weights(part, key, ctx.scale)
            of_value.baddbmm_(weights.transpose(1, 2), gradient)
            of_weights = gradient @ value.transpose(1, 2)
            of_logits = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            of_query.append(of_logits @ key * ctx.scale)
            of_key.baddbmm_(of_logits.transpose(1, 2), part, alpha=ctx.scale)
        return torch.cat(of_query, dim=1), of_key, of_value, None, None


def attend_maps(query: Tensor, key: Tensor, value: Tensor, *, scale: float = 1.0) -> Tensor:
    """Let the pixels of one map `attend` to those of another.

    Shape:
        query:  (N, K, H, W)
        key:    (N, K, h, w)
        value:  (N, V, h, w)
        output: (N, V, H, W)

    Args:
        query: who looks.
        key: what is looked at.
        value: what is taken from there.
        scale: of the products; 1 where a paper has none.
    """
    found = as_map(attend(tokens(query), tokens(key), tokens(value), scale=scale), (query.shape[2], query.shape[3]))
    # In the layout of what asked: maps of different layouts are slow to put together.
    return found.contiguous() if query.is_contiguous() else found


def cells(x: Tensor, grid: Size) -> Tensor:
    """Cut a map into a grid of cells of equal size.

    Shape:
        input:  (N, C, rows * h, columns * w)
        output: (N * rows * columns, C, h, w), the cells of an image one after the other, row by row

    Args:
        x: the map.
        grid: rows and columns. [count]
    """
    rows, columns = grid
    count, channels, height, width = x.shape
    parts = x.reshape(count, channels, rows, height // rows, columns, width // columns)
    return parts.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def joined(x: Tensor, grid: Size) -> Tensor:
    """Put `cells` back together.

    Shape:
        input:  (N * rows * columns, C, h, w)
        output: (N, C, rows * h, columns * w)

    Args:
        x: the cells.
        grid: rows and columns. [count]
    """
    parts = x.reshape(-1, *grid, *x.shape[1:])  # (N, rows, columns, C, h, w)
    return parts.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def phases(x: Tensor, steps: Size) -> Tensor:
    """Take a map apart into coarser ones, each with the pixels of one position modulo `steps`.

    Shape:
        input:  (N, C, h * down, w * right)
        output: (N * down * right, C, h, w), the phases of an image one after the other

    Args:
        x: the map.
        steps: how far apart the pixels of a phase are, down and to the right. [px]
    """
    down, right = steps
    count, channels, height, width = x.shape
    parts = x.reshape(count, channels, height // down, down, width // right, right)
    return parts.permute(0, 3, 5, 1, 2, 4).flatten(0, 2)


def interleaved(x: Tensor, steps: Size) -> Tensor:
    """Put `phases` back together.

    Shape:
        input:  (N * down * right, C, h, w)
        output: (N, C, h * down, w * right)

    Args:
        x: the phases.
        steps: how far apart the pixels of a phase are, down and to the right. [px]
    """
    parts = x.reshape(-1, *steps, *x.shape[1:])  # (N, down, right, C, h, w)
    return parts.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)


def padded(x: Tensor, multiple: Size, *, centred: bool = False) -> Tensor:
    """Add zeros until height and width are multiples; `cropped` undoes it.

    Shape:
        input:  (N, C, H, W)
        output: (N, C, H rounded up, W rounded up)

    Args:
        x: the map.
        multiple: what height and width must be divisible by. [px]
        centred: share the zeros out between both sides (the smaller half first) instead of adding them at the end.
    """
    down, right = (-side % step for side, step in zip(x.shape[-2:], multiple, strict=True))
    if down == right == 0:
        return x
    before = (down // 2, right // 2) if centred else (0, 0)
    return F.pad(x, (before[1], right - before[1], before[0], down - before[0]))


def cropped(x: Tensor, size: Size, *, centred: bool = False) -> Tensor:
    """Take away what `padded` added.

    Shape:
        input:  (N, C, H rounded up, W rounded up)
        output: (N, C, H, W)

    Args:
        x: the padded map.
        size: height and width before padding. [px]
        centred: as it was padded.
    """
    down, right = ((full - side) // 2 if centred else 0 for full, side in zip(x.shape[-2:], size, strict=True))
    return x[..., down : down + size[0], right : right + size[1]]
