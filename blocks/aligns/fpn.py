"""Semantic FPN: a top-down pyramid, then a branch of convolutions from each level up to the finest one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from torch import Tensor, nn

from blocks.aligns.top_down import nearest, top_down
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, group_norm, relu, resize, size_of
from blocks.options import Range

Norm = Literal["batch", "group"]


class FeaturePyramid(nn.Module):
    """FPN's neck: project every level, add it to the next finer one, smooth each sum.

    Shape:
        levels: (N, inputs[i], H_i, W_i), fine to coarse, any H_i, W_i >= 1
        output: (N, outputs, H_i, W_i) of each

    Args:
        inputs: channels of each level. [count]
        outputs: channels of each level that goes out. [count]
    """

    def __init__(self, inputs: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(channels, outputs, 1) for channels in inputs)
        self.smooth = nn.ModuleList(nn.Conv2d(outputs, outputs, 3, padding=1) for _ in inputs)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        projected = [lateral(level) for lateral, level in zip(self.laterals, levels, strict=True)]
        merged = top_down(projected, nearest)
        return [smooth(level) for smooth, level in zip(self.smooth, merged, strict=True)]


class SemanticBranch(nn.Module):
    """Bring a level to the finest one by turns of 3x3 convolution and twofold resize.

    Shape:
        input:  (N, inputs, h, w), any h, w >= 1
        output: (N, channels, *size)

    Args:
        inputs: channels of the level. [count]
        channels: width of the branch. [count]
        turns: convolutions, each with a resize behind it. [count]
        norm: `batch` or `group` normalisation behind each convolution.
        align_corners: how maps are resized.
    """

    def __init__(self, inputs: int, channels: int, turns: int, *, norm: Norm, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.convs = nn.ModuleList(_conv(channels if turn else inputs, channels, norm) for turn in range(turns))

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        for turn, conv in enumerate(self.convs, start=1):
            # Counted back from the last size, so that no stride has to be a power of two.
            step = 2 ** (len(self.convs) - turn)
            x = resize(conv(x), (-(-size[0] // step), -(-size[1] // step)), self.align_corners)
        return x


class SemanticBranches(nn.Module):
    """Bring each level to the finest one and add them all up.

    Shape:
        levels: (N, inputs[i], H_i, W_i), fine to coarse, any H_i, W_i >= 1
        output: (N, channels, H_0, W_0)

    Args:
        inputs: channels of each level. [count]
        strides: of each level; how often one is twice the finest decides how many turns it takes, at least one. [px]
        channels: width of the branches. [count]
        norm: `batch` or `group` normalisation behind each convolution.
        align_corners: how maps are resized.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        strides: Sequence[int],
        channels: int,
        *,
        norm: Norm = "batch",
        align_corners: bool,
    ) -> None:
        super().__init__()
        turns = [max(1, int(math.log2(stride / strides[0]))) for stride in strides]
        self.branches = nn.ModuleList(
            SemanticBranch(width, channels, count, norm=norm, align_corners=align_corners)
            for width, count in zip(inputs, turns, strict=True)
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        size = size_of(levels[0])
        total: Tensor = self.branches[0](levels[0], size)
        for level, branch in zip(levels[1:], self.branches[1:], strict=True):
            total = total + branch(level, size)
        return total


def _conv(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    if norm == "batch":
        return conv_norm_act(inputs, outputs, 3)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), group_norm(outputs), relu())


class SemanticFPN(nn.Module):
    """Build a feature pyramid from the top down and sum up what a small branch makes of each level.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, H_0, W_0)

    Args:
        source: what the pyramid holds.
        channels: width of the branches and of the map. [count]
        width: channels of the top-down pyramid. [count]
        norm: of the branches: `batch` (mmsegmentation) or `group` (paper, detectron2), 32 groups where they divide
            `channels` into two or more each, else as many as do.

    Source:
        Kirillov et al., Panoptic Feature Pyramid Networks, CVPR 2019, sec. 3.1. arXiv:1901.02446
        Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017, sec. 3. arXiv:1612.03144

    Deviations:
        Batch normalisation unless asked otherwise. Where a level's stride is no power of two times the finest, the
        first resize of its branch makes up the difference.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 128,
        width: Annotated[int, Range(8, 2048)] = 256,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        inputs = [level.channels for level in source.pyramid]
        strides = [level.stride for level in source.pyramid]
        self.neck = FeaturePyramid(inputs, width)
        self.branches = SemanticBranches(
            [width] * len(inputs), strides, channels, norm=norm, align_corners=source.align_corners
        )
        self.out = source._replace(map=FeatureMap(channels, strides[0]))

    def forward(self, f: Features) -> Features:
        return f._replace(map=self.branches(self.neck(f.pyramid)))
