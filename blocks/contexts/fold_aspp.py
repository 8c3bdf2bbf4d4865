"""Fold-ASPP (GateNet): an atrous pyramid over windows, each folded into the channels of one pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.attention import cropped, padded
from blocks.contexts.aspp import ImagePooling
from blocks.features import FeatureMap
from blocks.layers import BatchNorm, conv_norm_act, prelu, size_of
from blocks.options import Range


class FoldedPyramid(nn.Module):
    """Fold windows into channels, run an atrous pyramid there, unfold: Fold-ASPP without the normalisation after it.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1; zeros are added until the window divides them
        output: (N, outputs, H, W)

    Args:
        inputs: channels of the map. [count]
        outputs: channels of the result. [count]
        window: side of a window. [px]
        rates: dilations of the 3x3 branches on the folded map. [windows]
    """

    def __init__(self, inputs: int, outputs: int, *, window: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.window = window
        folded = outputs * window**2
        half = folded // 2
        self.reduce = conv_norm_act(inputs, outputs, 3, bias=True, act=prelu)
        self.branches = nn.ModuleList([conv_norm_act(folded, half, bias=True, act=prelu)])
        for rate in rates:
            self.branches.append(conv_norm_act(folded, half, 3, dilation=rate, bias=True, act=prelu))
        self.branches.append(ImagePooling(folded, half, bias=True, act=prelu))
        self.fuse = conv_norm_act(len(self.branches) * half, folded, bias=True, act=prelu)
        self.mix = nn.Conv2d(outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        folded = F.pixel_unshuffle(padded(self.reduce(x), (self.window, self.window)), self.window)
        fused = self.fuse(torch.cat([branch(folded) for branch in self.branches], dim=1))
        unfolded = cropped(F.pixel_shuffle(fused, self.window), size_of(x))
        mixed: Tensor = self.mix(unfolded)
        return mixed


class FoldAtrousPyramid(nn.Module):
    """Look at windows of a map, not at pixels, through convolutions of several dilations.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1; zeros are added until the window divides them
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        channels: channels of the result. [count]
        window: side of a window, which becomes one pixel of channels * window**2. [px]
        rates: dilations of the 3x3 branches, beside a 1x1 branch and the mean of all windows. [windows]

    Source:
        Zhao et al., Suppress and Balance: A Simple Gated Network for Salient Object Detection, ECCV 2020.
        arXiv:2007.08074

    Deviations:
        The authors' code folds windows of 2 on square maps of even sides only. The branch of the mean trains at batch
        1, where their normalisation fails: it then uses its running statistics.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        window: Annotated[int, Range(1, 4)] = 2,
        rates: Annotated[tuple[int, ...], Range(1, 48)] = (2, 4, 6),
    ) -> None:
        super().__init__()
        self.pyramid = FoldedPyramid(source.channels, channels, window=window, rates=rates)
        self.norm = BatchNorm(channels)
        self.act = prelu()
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(self.norm(self.pyramid(x)))
        return activated
