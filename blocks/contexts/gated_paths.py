"""Gated path selection (GPSNet): every pixel chooses how far it looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from blocks.features import FeatureMap
from blocks.layers import conv_norm_act
from blocks.options import Range


class SuperNet(nn.Module):
    """A grid of 3x3 convolutions whose view grows along both axes: with the dilation, and with the depth.

    A node reads the sum of its neighbours of smaller view, the one of the same dilation and the one of the same depth.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: len(rates) * depth maps of (N, channels, H, W), depth after depth, the smallest view first

    Args:
        channels: of every node. [count]
        rates: dilations, from small to large. [px]
        depth: nodes in a row. [count]
    """

    def __init__(self, channels: int, *, rates: Sequence[int], depth: int) -> None:
        super().__init__()
        self.nodes = nn.ModuleList(
            conv_norm_act(channels, channels, 3, dilation=rate) for _ in range(depth) for rate in rates
        )
        self.rates = len(rates)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for place, node in enumerate(self.nodes):
            seen = maps[place - self.rates] if place >= self.rates else x
            maps.append(node(seen + maps[-1] if place % self.rates else seen))
        return maps


class GatedPaths(nn.Module):
    """Let every pixel weigh the maps of a grid of growing views against each other, and fuse its choice with the map.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        channels: channels of the fused map. [count]
        width: channels of every node of the grid. [count]
        rates: dilations of its rows, from small to large. [px]
        depth: nodes in a row. [count]

    Source:
        Geng et al., Gated Path Selection Network for Semantic Segmentation, TIP 2021. arXiv:2001.06819

    Deviations:
        Unverified: no public code. Widths, rates and depth are ours; the gate compares all nodes at once, by a
        convolution over their concatenation and a softmax over them at each pixel.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        width: Annotated[int, Range(8, 512)] = 128,
        rates: Annotated[tuple[int, ...], Range(1, 96)] = (3, 6, 12),
        depth: Annotated[int, Range(1, 6)] = 3,
    ) -> None:
        super().__init__()
        paths = depth * len(rates)
        self.reduce = conv_norm_act(source.channels, width)
        self.grid = SuperNet(width, rates=rates, depth=depth)
        self.gate = nn.Conv2d(paths * width, paths, 1)
        self.fuse = conv_norm_act(source.channels + width, channels)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.grid(self.reduce(x))
        weights = self.gate(torch.cat(maps, dim=1)).softmax(dim=1)
        chosen = sum(weight * each for weight, each in zip(weights.split(1, dim=1), maps, strict=True))
        fused: Tensor = self.fuse(torch.cat([x, chosen], dim=1))
        return fused
