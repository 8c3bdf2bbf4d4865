"""Global aggregation, then local distribution (GALD-Net)."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from blocks.attention import padded
from blocks.features import FeatureMap
from blocks.layers import BatchNorm, Flanked, relu, resize, size_of
from blocks.options import Range


class Halved(nn.Module):
    """An unpadded depthwise 3x3 convolution of stride 2; a side shorter than the kernel is padded up to it.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, (H - 1) // 2, (W - 1) // 2), at least 1 each

    Args:
        channels: channels of the map. [count]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, channels, 3, stride=2, groups=channels)
        self.conv = nn.Sequential(conv, BatchNorm(channels), relu())

    def forward(self, x: Tensor) -> Tensor:
        down, right = (3 if side < 3 else 1 for side in size_of(x))
        halved: Tensor = self.conv(padded(x, (down, right), centred=True))
        return halved


class GroupedAggregation(nn.Module):
    """Compact generalised non-local: pixels and channels of a group are weighed by the one likeness of two projections.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: channels of the map. [count]
        values: channels of each projection. [count]
        groups: what both numbers of channels are parted into. [count]
    """

    def __init__(self, channels: int, values: int, *, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.theta = nn.Conv2d(channels, values, 1, bias=False)
        self.phi = nn.Conv2d(channels, values, 1, bias=False)
        self.g = nn.Conv2d(channels, values, 1, bias=False)
        self.back = nn.Conv2d(values, channels, 1, groups=groups, bias=False)
        self.norm = nn.GroupNorm(groups, channels)

    def forward(self, x: Tensor) -> Tensor:
        value, *both = (project(x).unflatten(1, (self.groups, -1)) for project in (self.theta, self.phi, self.g))
        phi, g = (part.flatten(2).flatten(0, 1) for part in both)
        # One number a group, of which the normalisation by the same groups leaves little more than the sign.
        likeness = phi.unsqueeze(1) @ g.unsqueeze(2)
        weighed = value * likeness.reshape(x.shape[0], self.groups, 1, 1, 1)
        aggregated: Tensor = self.norm(self.back(weighed.flatten(1, 2))) + x
        return aggregated


class LocalDistribution(nn.Module):
    """Gate each pixel and channel of a map by what its wider surroundings hold, and add the map.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1; sides below 15 px are padded on the way down
        output: (N, channels, H, W)

    Args:
        channels: channels of the map. [count]
        align_corners: how the gate is resized.
    """

    def __init__(self, channels: int, *, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.down = nn.Sequential(Halved(channels), Halved(channels), Halved(channels))

    def forward(self, x: Tensor) -> Tensor:
        gate = resize(self.down(x), size_of(x), self.align_corners).sigmoid()
        return torch.addcmul(x, x, gate)


class AggregationDistribution(nn.Module):
    """Aggregate a map globally at half its size, then hand the result out locally at full size.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: channels of the map. [count]
        values: channels of the projections in the global part. [count]
        groups: what they are parted into there. [count]
        align_corners: how maps are resized.
    """

    def __init__(self, channels: int, values: int, *, groups: int = 8, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.down = Halved(channels)
        self.aggregate = GroupedAggregation(channels, values, groups=groups)
        self.distribute = LocalDistribution(channels, align_corners=align_corners)

    def forward(self, x: Tensor) -> Tensor:
        aggregated = resize(self.aggregate(self.down(x)), size_of(x), self.align_corners)
        distributed: Tensor = aggregated + self.distribute(aggregated)
        return distributed


class GlobalLocal(nn.Module):
    """Aggregate globally, distribute locally, then fuse with the incoming map.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        align_corners: how maps are resized.
        channels: channels of the block and of the fused map. [count]
        reduction: how many times fewer channels the global part has. [ratio]
        groups: parts that the global part treats apart; their greatest common divisor with its channels. [count]

    Source:
        Li et al., Global Aggregation then Local Distribution in Fully Convolutional Networks, BMVC 2019, sec. 3.
        arXiv:1909.07229

    Deviations:
        None from the authors' code on maps of 15 px and more, but that they resize with `align_corners=True`, which the
        network decides here. The code fails on smaller maps; here a side that has become shorter than a 3x3 kernel is
        padded with zeros to 3 px. The auxiliary classifier on a lower level serves training only and is left out.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        align_corners: bool = False,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        reduction: Annotated[int, Range(2, 16)] = 2,
        groups: Annotated[int, Range(1, 64)] = 8,
    ) -> None:
        super().__init__()
        values = max(1, channels // reduction)
        shared = math.gcd(groups, channels, values)
        block = AggregationDistribution(channels, values, groups=shared, align_corners=align_corners)
        self.block = Flanked(source.channels, channels, block)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.block(x)
        return fused
