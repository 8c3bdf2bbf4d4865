"""Bring every level to the finest one bilinearly, by sum (FPN) or concatenation (SegFormer, HRNetV2)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from blocks.aligns.top_down import resizing, top_down
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, size_of
from blocks.options import Range, When


class Bilinear(nn.Module):
    """Resize every level to the finest one and merge.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, H_0, W_0); of `stack` (N, sum of C_i, H_0, W_0)

    Args:
        source: what the pyramid holds.
        mode: `sum` projects each level to one width, adds it to the next finer one, from the top down, and smooths the
            finest with a 3x3 convolution; `concat` projects all, resizes them to the finest and fuses them with a 1x1
            convolution; `stack` resizes and concatenates the levels as they come.
        channels: width of the projections and of the map. [count]
        fuse: a 1x1 convolution with normalisation and ReLU behind the stacked levels, which keeps their width; methods
            that begin with a convolution of their own (OCR) read them without.

    Source:
        Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017, sec. 3. arXiv:1612.03144 (`sum`)
        Xie et al., SegFormer, NeurIPS 2021, sec. 3.2. arXiv:2105.15203 (`concat`)
        Wang et al., Deep High-Resolution Representation Learning, TPAMI 2020, sec. 3.2. arXiv:1908.07919 (`stack`)

    Deviations:
        `sum` resizes bilinearly, where the paper takes the nearest pixel; only the finest level is smoothed, as the
        others are not read, and batch normalisation and ReLU follow. The convolution behind `stack` has no bias before
        its normalisation (mmsegmentation); the authors' has one.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        mode: Literal["sum", "concat", "stack"] = "sum",
        channels: Annotated[int, Range(8, 1024), When("mode", "sum", "concat")] = 128,
        fuse: Annotated[bool, When("mode", "stack")] = True,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.to_size = resizing("bilinear", source.align_corners)
        given = [level.channels for level in source.pyramid]
        self.laterals = nn.ModuleList(nn.Identity() if mode == "stack" else nn.Conv2d(c, channels, 1) for c in given)
        self.fuse: nn.Module
        if mode == "sum":
            self.fuse = conv_norm_act(channels, channels, 3)
        elif mode == "concat":
            self.fuse = conv_norm_act(len(given) * channels, channels)
        else:
            channels = sum(given)
            self.fuse = conv_norm_act(channels, channels) if fuse else nn.Identity()
        self.out = source._replace(map=FeatureMap(channels, source.pyramid[0].stride))

    def forward(self, f: Features) -> Features:
        levels = [lateral(level) for lateral, level in zip(self.laterals, f.pyramid, strict=True)]
        return f._replace(map=self.fuse(self._merged(levels)))

    def _merged(self, levels: list[Tensor]) -> Tensor:
        if self.mode == "sum":
            return top_down(levels, self.to_size)[0]
        return torch.cat([self.to_size(level, size_of(levels[0])) for level in levels], dim=1)
