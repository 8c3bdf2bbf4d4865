"""The decoder of DeepLabV3+: the deepest level beside a narrow low-level one."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from torch import nn

from blocks.errors import BlockError, law
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, resize, separable_conv, size_of
from blocks.options import Range


class LowLevelSkip(nn.Module):
    """Resize the deepest level to a low one, concatenate it with a few channels of that, refine with convolutions.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, height and width of the low level)

    Args:
        source: what the pyramid holds; one level alone is low and deep at once.
        channels: width of the 3x3 convolutions and of the map. [count]
        low: channels that the low level is reduced to, lest it outweigh the deep one. [count]
        level: which level is low, counted from the finest.
        separable: depthwise and pointwise 3x3 convolutions; else ordinary ones.
        depth: how many of them follow each other; the paper compares one to three and takes two (table 2). [count]

    Raises:
        BlockError: the pyramid has no such level.

    Source:
        Chen et al., Encoder-Decoder with Atrous Separable Convolution, ECCV 2018, sec. 3.1. arXiv:1802.02611

    Deviations:
        None; the atrous pyramid that comes before it is the context aspp.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 256,
        low: Annotated[int, Range(1, 1024)] = 48,
        level: Annotated[int, Range(0, 5)] = 0,
        separable: bool = True,
        depth: Annotated[int, Range(1, 3)] = 2,
    ) -> None:
        super().__init__()
        if level >= len(source.pyramid):
            got = {"level": level, "levels": len(source.pyramid)}
            raise BlockError(law("deeplab_plus", "a low level that the pyramid has", got, "Use level: 0"))
        conv = separable_conv if separable else conv_norm_act
        self.level = level
        self.align_corners = source.align_corners
        self.low = conv_norm_act(source.pyramid[level].channels, low)
        widths = [source.pyramid[-1].channels + low] + [channels] * depth
        self.fuse = nn.Sequential(*(conv(inputs, outputs, 3) for inputs, outputs in pairwise(widths)))
        self.out = source._replace(map=FeatureMap(channels, source.pyramid[level].stride))

    def forward(self, f: Features) -> Features:
        low = self.low(f.pyramid[self.level])
        deep = resize(f.pyramid[-1], size_of(low), self.align_corners)
        return f._replace(map=self.fuse(torch.cat([deep, low], dim=1)))
