"""Patch-wise re-arrangement and pooling."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from blocks.attention import Size, cropped, joined, padded
from blocks.attention import cells as cut
from blocks.features import FeatureMap
from blocks.layers import conv_norm_act, size_of
from blocks.options import Range

Over = Literal["pixels", "cells"]


class PatchAverage(nn.Module):
    """Cut a map into a grid of cells, average, and put the averages back in their places.

    Shape:
        input:  (N, C, H, W), any H, W >= 1; sides that the grid does not divide have smaller cells at the end
        output: (N, C, H, W)

    Args:
        grid: rows and columns. [count]
        over: average the `pixels` of each cell, or what all `cells` have at the same place.
    """

    def __init__(self, grid: Size, *, over: Over) -> None:
        super().__init__()
        self.grid = grid
        self.over = over

    def forward(self, x: Tensor) -> Tensor:
        # Zeros that fill up the last cells must not pull their averages down.
        known = self._mean(padded(torch.ones_like(x[:1, :1]), self.grid))
        mean = self._mean(padded(x, self.grid)) / known.masked_fill(known == 0, 1.0)
        return cropped(mean, size_of(x))

    def _mean(self, x: Tensor) -> Tensor:
        parts = cut(x, self.grid)
        parts = parts.reshape(x.shape[0], -1, *parts.shape[1:])  # (N, rows * columns, C, h, w)
        mean = parts.mean(dim=1 if self.over == "cells" else (3, 4), keepdim=True)
        return joined(mean.expand(parts.shape).flatten(0, 1), self.grid)


class PatchPooling(nn.Module):
    """Concatenate a map with averages over or across the cells of a grid, then fuse with a 3x3 convolution.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1; sides that the grid does not divide have smaller cells at
            the end
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        channels: channels of the fused map. [count]
        cells: of the grid that the map is cut into. [per side]
        over: average the `pixels` of each cell (what is around), or position by position over all `cells` (what is
            at the same place elsewhere).

    Source:
        None found; the method is known by what it does: re-arrange a map into patches, average, stack them again.

    Deviations:
        Unverified: no public code and no paper found, and the description leaves open what is averaged, hence `over`.
        The fusion is that of pyramid pooling.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        cells: Annotated[int, Range(1, 32)] = 4,
        over: Over = "pixels",
    ) -> None:
        super().__init__()
        self.average = PatchAverage((cells, cells), over=over)
        self.fuse = conv_norm_act(2 * source.channels, channels, 3)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.fuse(torch.cat([x, self.average(x)], dim=1))
        return fused
