"""Bring every level to the finest one bilinearly, by sum (FPN) or concatenation (SegFormer)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, resize, size_of
from blocks.options import Range


class Bilinear(nn.Module):
    """Project every level to one width, resize to the finest one, merge.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, H_0, W_0)

    Args:
        source: what the pyramid holds.
        mode: `sum` adds each level to the next finer one, from the top down, and smooths the finest with a 3x3
            convolution; `concat` resizes all to the finest and fuses them with a 1x1 convolution.
        channels: width of the lateral projections and of the map. [count]

    Source:
        Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017, sec. 3. arXiv:1612.03144 (`sum`)
        Xie et al., SegFormer, NeurIPS 2021, sec. 3.2. arXiv:2105.15203 (`concat`)

    Deviations:
        `sum` resizes bilinearly, where the paper takes the nearest pixel; only the finest level is smoothed, as the
        others are not read, and batch normalisation and ReLU follow.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        mode: Literal["sum", "concat"] = "sum",
        channels: Annotated[int, Range(8, 1024)] = 128,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.align_corners = source.align_corners
        self.laterals = nn.ModuleList(nn.Conv2d(level.channels, channels, 1) for level in source.pyramid)
        if mode == "sum":
            self.fuse = conv_norm_act(channels, channels, 3)
        else:
            self.fuse = conv_norm_act(len(source.pyramid) * channels, channels)
        self.out = source._replace(map=FeatureMap(channels, source.pyramid[0].stride))

    def forward(self, f: Features) -> Features:
        levels = [lateral(level) for lateral, level in zip(self.laterals, f.pyramid, strict=True)]
        return f._replace(map=self.fuse(self._sum(levels) if self.mode == "sum" else self._concat(levels)))

    def _sum(self, levels: list[Tensor]) -> Tensor:
        merged = levels[-1]
        for level in reversed(levels[:-1]):
            merged = level + resize(merged, size_of(level), self.align_corners)
        return merged

    def _concat(self, levels: list[Tensor]) -> Tensor:
        return torch.cat([resize(level, size_of(levels[0]), self.align_corners) for level in levels], dim=1)
