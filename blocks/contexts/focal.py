"""Focal self-attention: fine keys nearby, coarse ones further away."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.attention import attend, cropped, padded
from blocks.errors import BlockError, law
from blocks.features import FeatureMap
from blocks.layers import size_of
from blocks.options import Range
from blocks.windows import head_count, mlp, relative_index


class FocalAttention(nn.Module):
    """Let each window look at itself, at a ring of pixels around it and at pooled windows further away.

    The ring wraps around at the borders. What is pooled does not: cells outside the map weigh e^-100.

    Shape:
        input:  x (N, H, W, channels), H and W multiples of the window; for each coarse level k, from 0, a map
            (N, 2^k * H / window, 2^k * W / window, channels)
        output: (N, H, W, channels)

    Args:
        channels: of the map. [count]
        heads: a divisor of the channels. [count]
        window: side of a window. [px]
        expand: width of the ring; 0 for none. [px]
        levels: of granularity, the fine one included. [count]
        focal_window: side of the region that is seen at the first coarse level; odd. [windows]
    """

    own_index: Tensor
    ring_index: Tensor

    def __init__(self, channels: int, *, heads: int, window: int, expand: int, levels: int, focal_window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.expand = expand
        self.reach = focal_window // 2
        self.own = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("own_index", relative_index(window, window), persistent=False)
        if expand:
            slots, count = _ring(window, expand)
            self.ring = nn.Parameter(torch.empty(1, heads, window**2, count))
            nn.init.trunc_normal_(self.ring, std=0.02)
            self.register_buffer("ring_index", torch.tensor(slots), persistent=False)
        self.coarse = nn.ParameterList()
        for level in range(levels - 1):
            side = 2 * self.reach + 2**level
            self.coarse.append(nn.Parameter(torch.empty(heads, (window + side - 1) ** 2)))
            nn.init.trunc_normal_(self.coarse[level], std=0.02)
            self.register_buffer(f"coarse_index_{level}", relative_index(window, side), persistent=False)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor, pooled: Sequence[Tensor]) -> Tensor:
        count, height, width, channels = x.shape
        query, *fine = self.qkv(x).chunk(3, dim=-1)
        grid = height // self.window, width // self.window
        side = self.window + 2 * self.expand
        seen = [[self._windows(_wrapped(part, self.expand), side, self.window) for part in fine]]
        bias = [self._fine_bias().unsqueeze(0)]
        for level, cells in enumerate(pooled):
            side, step = 2 * self.reach + 2**level, 2**level
            around = (0, 0, *[self.reach] * 4)
            parts = self.qkv(cells).chunk(3, dim=-1)[1:]
            seen.append([self._windows(F.pad(part, around), side, step) for part in parts])
            inside = F.pad(x.new_ones(1, *cells.shape[1:3], 1), around).unfold(1, side, step).unfold(2, side, step)
            table = self.coarse[level][:, getattr(self, f"coarse_index_{level}")]
            bias.append(table + 100 * (inside.reshape(-1, 1, 1, side**2) - 1))
        windows = grid[0] * grid[1]
        biases = torch.cat([part.expand(windows, -1, -1, -1) for part in bias], dim=-1).flatten(0, 1).unsqueeze(0)
        # Row by row, so that nothing is copied twice.
        rows = ([row for part in parts for row in part.unbind(4)] for parts in zip(*seen, strict=True))
        keys, values = (torch.cat(part, dim=4).flatten(1, 3) for part in rows)
        queries = self._windows(query, self.window, self.window).flatten(4, 5).flatten(1, 3)
        found = attend(queries, keys, values, scale=queries.shape[-1] ** -0.5, bias=biases.to(queries.dtype))
        found = found.reshape(count, *grid, self.heads, self.window, self.window, -1)
        mixed: Tensor = self.project(found.permute(0, 1, 4, 2, 5, 3, 6).reshape(count, height, width, channels))
        return mixed

    def _windows(self, x: Tensor, side: int, step: int) -> Tensor:
        """Every square of that side, head by head: (N, H, W, C) -> (N, rows, columns, heads, side, side, C / heads)."""
        parts = x.reshape(*x.shape[:3], self.heads, -1).unfold(1, side, step).unfold(2, side, step)
        return parts.permute(0, 1, 2, 3, 5, 6, 4)

    def _fine_bias(self) -> Tensor:
        """Of the pixels of a window and its ring, row by row: (heads, window ** 2, (window + 2 * expand) ** 2)."""
        own = self.own[self.own_index].permute(2, 0, 1)
        if not self.expand:
            return own
        nothing = -torch.inf
        square = own.reshape(self.heads, -1, self.window, self.window)
        own = F.pad(square, [self.expand] * 4, value=nothing).flatten(2)
        ring = F.pad(self.ring[0], (0, 1), value=nothing)[..., self.ring_index]
        # A key that is offered twice weighs e^a + e^b times its product: once, with the bias log(e^a + e^b).
        return torch.cat([own.unsqueeze(2), ring], dim=2).logsumexp(dim=2)


class FocalBlock(nn.Module):
    """A transformer block with focal self-attention; windows are pooled by a learned sum over their pixels.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        heads: a divisor of the channels. [count]
        window: side of a window. [px]
        expand: width of the ring around it; 0 for none, and at most half the window. [px]
        levels: of granularity, the fine one included. [count]
        focal_window: side of the region that is seen at the first coarse level; odd. [windows]
        mlp_ratio: width of the hidden layer. [times the channels]
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        window: int = 7,
        expand: int = 3,
        levels: int = 2,
        focal_window: int = 7,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        self.window = window
        self.pools = nn.ModuleList()
        for level in range(levels - 1):
            pool = nn.Linear((window // 2**level) ** 2, 1)
            nn.init.constant_(pool.weight, 1 / pool.in_features)
            nn.init.zeros_(pool.bias)
            self.pools.append(pool)
        self.norm1 = nn.LayerNorm(channels)
        self.attention = FocalAttention(
            channels, heads=heads, window=window, expand=expand, levels=levels, focal_window=focal_window
        )
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = mlp(channels, mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        size = size_of(x)
        x = x.permute(0, 2, 3, 1).contiguous()
        normed = padded(self.norm1(x).permute(0, 3, 1, 2), (self.window, self.window))
        pooled = [self._pooled(normed, level) for level in range(len(self.pools))]
        mixed = self.attention(normed.permute(0, 2, 3, 1), pooled).permute(0, 3, 1, 2)
        x = x + cropped(mixed, size).permute(0, 2, 3, 1)
        x = x + self.mlp(self.norm2(x))
        return x.permute(0, 3, 1, 2)

    def _pooled(self, x: Tensor, level: int) -> Tensor:
        """2^k x 2^k cells for every window, from the middle of the map where they do not fill it."""
        step, side = 2**level, self.window // 2**level
        height, width = (full // self.window * step * side for full in size_of(x))
        parts = cropped(x, (height, width), centred=True).unfold(2, side, side).unfold(3, side, side)
        cells: Tensor = self.pools[level](parts.permute(0, 2, 3, 1, 4, 5).flatten(4))
        return cells.squeeze(-1)


class FocalSelfAttention(nn.Module):
    """Let pixels attend to fine surroundings and to coarse ones further away, in transformer blocks.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, source.channels, H, W)

    Args:
        source: the incoming map.
        depth: how many blocks follow each other. [count]
        head_width: least channels of a head; as many heads as divide the channels evenly. [count]
        window: side of a window. [px]
        expand: width of the ring of fine keys around it; 0 for none. [px]
        levels: of granularity, the fine one included; 1 is window attention. [count]
        focal_window: side of the region that is seen at the first coarse level. [windows]
        mlp_ratio: width of the hidden layer. [times the channels]

    Raises:
        BlockError: `expand` is more than half the window, `focal_window` is even, or the window is too small to be
            pooled at so many levels.

    Source:
        Yang et al., Focal Self-attention for Local-Global Interactions in Vision Transformers, NeurIPS 2021, sec. 3.2.
        arXiv:2107.00641

    Deviations:
        None from the numbers of the authors' block, which departs from the paper: the ring wraps around at the borders,
        and zeros that fill up the last windows are keys like others. Pixels of the ring that their four shifted copies
        offer twice are read once, with the two biases learned for them joined. Their window shrinks to a map of a known
        size that is smaller; ours fills the map up. Pooling starts as the mean, as in their block; what initialises
        their whole network undoes that.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        depth: Annotated[int, Range(1, 8)] = 1,
        head_width: Annotated[int, Range(4, 256)] = 32,
        window: Annotated[int, Range(2, 32)] = 7,
        expand: Annotated[int, Range(0, 16)] = 3,
        levels: Annotated[int, Range(1, 4)] = 2,
        focal_window: Annotated[int, Range(1, 31)] = 7,
        mlp_ratio: Annotated[float, Range(0.25, 8.0)] = 4.0,
    ) -> None:
        super().__init__()
        if 2 * expand > window:
            got = {"expand": expand, "window": window}
            raise BlockError(law("focal", "a ring of at most half the window", got, "Lower expand or widen the window"))
        if focal_window % 2 == 0:
            got = {"focal_window": focal_window}
            raise BlockError(law("focal", "an odd focal_window", got, f"Use {focal_window - 1} or {focal_window + 1}"))
        if levels > 1 and window < 2 ** (levels - 2):
            got = {"levels": levels, "window": window}
            raise BlockError(law("focal", "windows that can be pooled", got, "Use fewer levels or widen the window"))
        blocks = [
            FocalBlock(
                source.channels,
                heads=head_count(source.channels, head_width),
                window=window,
                expand=expand,
                levels=levels,
                focal_window=focal_window,
                mlp_ratio=mlp_ratio,
            )
            for _ in range(depth)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.out = source

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.blocks(x)
        return mixed


def _wrapped(x: Tensor, width: int) -> Tensor:
    """Continue a map (N, H, W, C) by that many pixels of its opposite sides."""
    for dim in (1, 2) if width else ():
        side = x.shape[dim]
        x = torch.cat([x.narrow(dim, side - width, width), x, x.narrow(dim, 0, width)], dim)
    return x


def _ring(window: int, expand: int) -> tuple[list[list[int]], int]:
    """Number what the authors' four shifted copies of a map hold around a window, and count it.

    Each copy shows a window shifted towards one corner; what lies in the window itself is left out. The lists say, copy
    by copy, which number stands at which pixel of window and ring; the count itself where there is none.
    """
    side = window + 2 * expand
    found: list[dict[int, int]] = []
    total = 0
    for down, right in itertools.product((expand, -expand), repeat=2):
        places = ((row + down, column + right) for row, column in itertools.product(range(window), repeat=2))
        outside = [(r, c) for r, c in places if not (0 <= r < window and 0 <= c < window)]
        found.append({(r + expand) * side + c + expand: total + n for n, (r, c) in enumerate(outside)})
        total += len(outside)
    return [[copy.get(place, total) for place in range(side**2)] for copy in found], total
