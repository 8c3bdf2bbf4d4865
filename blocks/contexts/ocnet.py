"""Object context (OCNet): pixels described by the pixels that look like them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.attention import attend_maps, cells, joined
from blocks.features import FeatureMap
from blocks.layers import conv_norm_act, leaky, relu, resize, size_of
from blocks.options import Range, When

Variant = Literal["ocnet", "openseg"]
ACT: dict[Variant, Callable[[], nn.Module]] = {"ocnet": leaky, "openseg": relu}


def runs(side: int, count: int) -> list[tuple[int, int, int]]:
    """Cut a side into `count` cells; tell where each run of equal ones starts and ends, and how many it has.

    The last cell takes the remainder. A side of fewer pixels has a cell for each.
    """
    count = min(count, side)
    last = side // count * (count - 1)
    return [(0, last, count - 1), (last, side, 1)] if side % count else [(0, side, count)]


class CellAttention(nn.Module):
    """Self-attention among the pixels of each cell of a grid.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, H, W)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
        keys: width of queries and keys. [count]
        values: width of values. [count]
        grid: rows and columns of cells; 1 for the whole map. The last ones take the remainder, and a side of fewer
            pixels has as many cells as pixels. [cells per side]
        variant: one projection for queries and keys, with LeakyReLU (`ocnet`), or two of two layers each, with ReLU
            (`openseg`).
    """

    def __init__(
        self, inputs: int, outputs: int, keys: int, values: int, *, grid: int = 1, variant: Variant = "ocnet"
    ) -> None:
        super().__init__()
        self.scale = keys**-0.5
        self.grid = grid
        self.key = self._projection(inputs, keys, variant)
        self.query = None if variant == "ocnet" else self._projection(inputs, keys, variant)
        self.value = nn.Conv2d(inputs, values, 1)
        self.up = nn.Conv2d(values, outputs, 1)
        # As published: there is no context at first.
        for parameter in self.up.parameters():
            nn.init.zeros_(parameter)

    @staticmethod
    def _projection(inputs: int, keys: int, variant: Variant) -> nn.Sequential:
        first = conv_norm_act(inputs, keys, bias=True, act=ACT[variant])
        return first if variant == "ocnet" else nn.Sequential(first, conv_norm_act(keys, keys, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        key = self.key(x)
        query = key if self.query is None else self.query(x)
        value = self.value(x)
        rows = []
        for top, bottom, down in runs(x.shape[2], self.grid):
            row = []
            for left, right, across in runs(x.shape[3], self.grid):
                part = (..., slice(top, bottom), slice(left, right))
                row.append(self._attend(query[part], key[part], value[part], (down, across)))
            rows.append(torch.cat(row, dim=3))
        context: Tensor = self.up(torch.cat(rows, dim=2))
        return context

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, grid: tuple[int, int]) -> Tensor:
        found = attend_maps(cells(query, grid), cells(key, grid), cells(value, grid), scale=self.scale)
        return joined(found, grid)


class BaseObjectContext(nn.Module):
    """A map beside its self-attention, fused.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, H, W)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
        keys: width of queries and keys. [count]
        values: width of values. [count]
        variant: see `CellAttention`.
    """

    def __init__(self, inputs: int, outputs: int, keys: int, values: int, *, variant: Variant = "ocnet") -> None:
        super().__init__()
        self.attention = CellAttention(inputs, inputs, keys, values, variant=variant)
        self.fuse = conv_norm_act(2 * inputs, outputs, bias=True, act=ACT[variant])

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.fuse(torch.cat([self.attention(x), x], dim=1))
        return fused


class PyramidObjectContext(nn.Module):
    """A map, widened, beside its self-attention inside the cells of several grids, fused.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, H, W)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
        grids: one self-attention each. [cells per side]
        variant: see `CellAttention`.
    """

    def __init__(
        self, inputs: int, outputs: int, grids: Sequence[int] = (1, 2, 3, 6), *, variant: Variant = "ocnet"
    ) -> None:
        super().__init__()
        keys, act = max(1, inputs // 2), ACT[variant]
        self.stages = nn.ModuleList(
            CellAttention(inputs, inputs, keys, inputs, grid=grid, variant=variant) for grid in grids
        )
        self.fuse = conv_norm_act(2 * len(grids) * inputs, outputs, bias=True, act=act)
        self.widen = conv_norm_act(inputs, len(grids) * inputs, bias=True, act=act)

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.fuse(torch.cat([self.widen(x), *(stage(x) for stage in self.stages)], dim=1))
        return fused


class AtrousObjectContext(nn.Module):
    """Atrous pyramid pooling with self-attention, at half resolution, in the place of image pooling.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, H, W)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out: twice the width, as published. [count]
        width: channels of a branch. [count]
        rates: dilations of the 3x3 branches. [px]
        variant: see `CellAttention`; values are as wide as the branch (`ocnet`) or half of it (`openseg`).
        align_corners: how the attention is resized.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        rates: Sequence[int] = (12, 24, 36),
        *,
        variant: Variant = "ocnet",
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        half, act = max(1, width // 2), ACT[variant]
        values = width if variant == "ocnet" else half
        self.align_corners = align_corners
        self.reduce = conv_norm_act(inputs, width, 3, bias=True, act=act)
        self.attention = CellAttention(width, width, half, values, variant=variant)
        self.context = conv_norm_act(width, width, bias=True, act=act)
        self.branches = nn.ModuleList([conv_norm_act(inputs, width, act=act)])
        self.branches.extend(conv_norm_act(inputs, width, 3, dilation=rate, act=act) for rate in rates)
        self.fuse = conv_norm_act((2 + len(rates)) * width, outputs, act=act)

    def forward(self, x: Tensor) -> Tensor:
        near = self.reduce(x)
        # A side of one pixel cannot be halved.
        height, width = (min(2, side) for side in size_of(x))
        found = self.attention(F.max_pool2d(near, (height, width)))
        context = self.context(resize(found, size_of(x), self.align_corners))
        fused: Tensor = self.fuse(torch.cat([context, *(branch(x) for branch in self.branches)], dim=1))
        return fused


class ObjectContext(nn.Module):
    """Describe every pixel by the pixels that look like it, beside what it is itself.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        align_corners: how attention at half resolution is resized (`asp`).
        form: self-attention over the whole map (`base`), inside the cells of several grids (`pyramid`), or as a branch
            of atrous pyramid pooling (`asp`).
        channels: of the 3x3 convolution before and of the fused map; queries and keys are half as wide. [count]
        grids: one self-attention each; the last row and column of cells take the remainder, and a side with fewer
            pixels than cells has a cell for each pixel. [cells per side]
        rates: dilations of the 3x3 branches. [px]
        variant: one projection for queries and keys, and LeakyReLU (`ocnet`), or a deeper one for each, and ReLU
            (`openseg`).

    Source:
        Yuan et al., OCNet: Object Context for Semantic Segmentation, IJCV 2021, sec. 3. arXiv:1809.00916

    Deviations:
        The projection that queries and keys share is computed once; the authors compute it twice. Their in-place
        normalisation takes the magnitude of its weight; here it is the plain one. Grids work on maps with fewer pixels
        than cells, and `asp` at one pixel. The authors resize with `align_corners=True`; here the network decides. The
        dropout after the fusion (0.05; `asp` 0.1) is the head's.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        align_corners: bool = False,
        *,
        form: Literal["base", "pyramid", "asp"] = "base",
        channels: Annotated[int, Range(8, 2048)] = 512,
        grids: Annotated[tuple[int, ...], Range(1, 32), When("form", "pyramid")] = (1, 2, 3, 6),
        rates: Annotated[tuple[int, ...], Range(1, 96), When("form", "asp")] = (12, 24, 36),
        variant: Variant = "ocnet",
    ) -> None:
        super().__init__()
        self.reduce = conv_norm_act(source.channels, channels, 3, bias=True, act=ACT[variant])
        half = channels // 2
        if form == "base":
            self.context: nn.Module = BaseObjectContext(channels, channels, half, half, variant=variant)
        elif form == "pyramid":
            self.context = PyramidObjectContext(channels, channels, grids, variant=variant)
        else:
            self.context = AtrousObjectContext(
                channels, channels, half, rates, variant=variant, align_corners=align_corners
            )
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.context(self.reduce(x))
        return fused
