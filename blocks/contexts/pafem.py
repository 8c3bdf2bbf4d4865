"""Pyramidally attended feature extraction: an atrous pyramid whose dilated branches attend to themselves."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from blocks.attention import attend_maps
from blocks.contexts.aspp import ImagePooling
from blocks.features import FeatureMap
from blocks.layers import conv_norm_act, prelu
from blocks.options import Range


class BranchAttention(nn.Module):
    """What every pixel of a branch takes from all its pixels.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the branch; queries and keys have an eighth. [count]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, max(1, channels // 8), 1)
        self.key = nn.Conv2d(channels, max(1, channels // 8), 1)
        self.value = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return attend_maps(self.query(x), self.key(x), self.value(x))


class PyramidAttendedFeatures(nn.Module):
    """Look at a map through convolutions of several dilations, let each attend to itself, then fuse.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        channels: channels of the fused map; each branch has half. [count]
        rates: dilations of the attended 3x3 branches, beside a 1x1 branch and the mean of the map. [px]

    Source:
        Zhao et al., A Single Stream Network for Robust and Real-Time RGB-D Salient Object Detection, ECCV 2020.
        arXiv:2007.06811

    Deviations:
        The branch of the mean trains at batch 1, where the authors' normalisation fails: it then uses its running
        statistics.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        rates: Annotated[tuple[int, ...], Range(1, 96)] = (2, 4, 6),
    ) -> None:
        super().__init__()
        half = channels // 2
        self.strengths = nn.ParameterList(torch.zeros(1) for _ in rates)
        self.reduce = conv_norm_act(source.channels, channels, 3, bias=True, act=prelu)
        self.point = conv_norm_act(channels, half, bias=True, act=prelu)
        self.branches = nn.ModuleList(
            conv_norm_act(channels, half, 3, dilation=rate, bias=True, act=prelu) for rate in rates
        )
        self.attentions = nn.ModuleList(BranchAttention(half) for _ in rates)
        self.pooling = ImagePooling(channels, half, bias=True, act=prelu)
        self.fuse = conv_norm_act((2 + len(rates)) * half, channels, bias=True, act=prelu)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        maps = [self.point(x)]
        for branch, attention, strength in zip(self.branches, self.attentions, self.strengths, strict=True):
            local = branch(x)
            maps.append(local + strength * attention(local))
        maps.append(self.pooling(x))
        fused: Tensor = self.fuse(torch.cat(maps, dim=1))
        return fused
