"""What methods of windowed attention share: windows that fit any map, heads, relative positions, the layers behind."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from blocks.attention import Size, attend, cells, joined
from blocks.layers import size_of


def head_count(channels: int, width: int) -> int:
    """Return the most heads that share the channels evenly and are at least `width` wide; 1 if none are. [count]"""
    return max(heads for heads in range(1, max(1, channels // width) + 1) if channels % heads == 0)


def mlp(channels: int, ratio: float) -> nn.Sequential:
    """Two linear layers with a GELU between them, `ratio` times as wide as what they read."""
    hidden = max(1, int(channels * ratio))
    return nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))


def relative_index(queries: int, keys: int) -> Tensor:
    """Number how a window of queries lies to a window of keys, pair by pair.

    There are (queries + keys - 1) ** 2 numbers, row by row; 0 is the query at the top left and the key at the bottom
    right.

    Shape:
        output: (queries ** 2, keys ** 2)

    Args:
        queries: side of their window. [px]
        keys: side of theirs. [px]
    """
    apart = torch.arange(queries)[:, None] - torch.arange(keys) + keys - 1
    numbers = apart[:, None, :, None] * (queries + keys - 1) + apart[None, :, None, :]
    return numbers.reshape(queries**2, keys**2)


def over_windows(x: Tensor, grid: Size, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Put a function to each window of a grid that tiles the map, and its results where the windows were.

    No pixel is added: where rows or columns do not share the map evenly, the first of them are one pixel longer. The
    function is called once for all windows of one size, of which there are four at most.

    Shape:
        input:    (N, C, H, W)
        function: (windows, C, h, w) -> (windows, D, h, w)
        output:   (N, D, H, W)

    Args:
        x: the map.
        grid: rows and columns; those that a small map has no pixels for stay empty. [count]
        function: what to do with the windows.
    """
    height, width = size_of(x)
    bands = []
    for rows, strip in zip(_shares(height, grid[0]), _split(x, _shares(height, grid[0]), -2), strict=True):
        parts = zip(_shares(width, grid[1]), _split(strip, _shares(width, grid[1]), -1), strict=True)
        done = [joined(function(cells(part, (rows[0], columns[0]))), (rows[0], columns[0])) for columns, part in parts]
        bands.append(torch.cat(done, dim=-1))
    return torch.cat(bands, dim=-2)


def _shares(side: int, parts: int) -> list[Size]:
    """How many parts are how long: the longer ones first, none of no length."""
    length, longer = divmod(side, parts)
    return [(count, long) for count, long in ((longer, length + 1), (parts - longer, length)) if count and long]


def _split(x: Tensor, shares: list[Size], dim: int) -> tuple[Tensor, ...]:
    return torch.split(x, list(itertools.starmap(int.__mul__, shares)), dim)


class WindowAttention(nn.Module):
    """Self-attention of several heads inside windows, with a bias for every relative position.

    Windows tile the map; on sides that are no multiple of the window some are a pixel smaller (see `over_windows`).

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        heads: a divisor of the channels. [count]
        window: greatest side of a window. [px]
    """

    index: Tensor

    def __init__(self, channels: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.positions = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)
        index = relative_index(window, window).reshape(window, window, window, window)
        self.register_buffer("index", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = (-(-side // self.window) for side in size_of(x))
        mixed: Tensor = self.project(over_windows(self.qkv(x), (height, width), self._look))
        return mixed

    def _look(self, x: Tensor) -> Tensor:
        height, width = size_of(x)
        query, key, value = x.reshape(x.shape[0], 3, self.heads, -1, height * width).transpose(-2, -1).unbind(1)
        index = self.index[:height, :width, :height, :width].reshape(height * width, height * width)
        bias = self.positions[index].permute(2, 0, 1)
        seen = attend(query, key, value, scale=query.shape[-1] ** -0.5, bias=bias.to(query.dtype).unsqueeze(0))
        return seen.transpose(-2, -1).reshape(x.shape[0], -1, height, width)
