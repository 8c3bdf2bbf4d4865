"""Unified perceptual parsing (UPerNet): pyramid pooling on top of a top-down pyramid, all levels concatenated."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import nn

from blocks.aligns.top_down import resizing, top_down
from blocks.contexts.ppm import PyramidPooling
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, size_of
from blocks.options import Range


class UnifiedPyramid(nn.Module):
    """Pool the deepest level over grids, hand it down level by level, concatenate all levels and fuse them.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, H_0, W_0)

    Args:
        source: what the pyramid holds.
        channels: width of every level and of the map. [count]
        bins: grid sizes that the deepest level is averaged over. [cells per side]

    Source:
        Xiao et al., Unified Perceptual Parsing for Scene Understanding, ECCV 2018, sec. 3.1. arXiv:1807.10221

    Deviations:
        One width for all (mmsegmentation); the authors pool at 512 channels and go on with 256 or 512. The grid of one
        cell trains at batch 1, where the published normalisation fails: it then uses its running statistics.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        bins: Annotated[tuple[int, ...], Range(1, 32)] = (1, 2, 3, 6),
    ) -> None:
        super().__init__()
        *fine, deepest = source.pyramid
        self.to_size = resizing("bilinear", source.align_corners)
        self.pooling = PyramidPooling(deepest, source.align_corners, channels=channels, bins=bins, branch="full")
        self.laterals = nn.ModuleList(conv_norm_act(level.channels, channels) for level in fine)
        self.smooth = nn.ModuleList(conv_norm_act(channels, channels, 3) for _ in fine)
        self.fuse = conv_norm_act(len(source.pyramid) * channels, channels, 3)
        self.out = source._replace(map=FeatureMap(channels, source.pyramid[0].stride))

    def forward(self, f: Features) -> Features:
        *fine, deepest = f.pyramid
        projected = [lateral(level) for lateral, level in zip(self.laterals, fine, strict=True)]
        *merged, pooled = top_down([*projected, self.pooling(deepest)], self.to_size)
        levels = [*(smooth(level) for smooth, level in zip(self.smooth, merged, strict=True)), pooled]
        size = size_of(f.pyramid[0])
        return f._replace(map=self.fuse(torch.cat([self.to_size(level, size) for level in levels], dim=1)))
