"""STDC networks: short-term dense concatenation, each block half as wide as the one before."""

from __future__ import annotations

import itertools
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from blocks.backbones.initialise import initialise
from blocks.backbones.normalise import Normalise
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act
from blocks.options import Range

WIDTHS = (32, 64, 256, 512, 1024)  # at strides 2, 4, 8, 16, 32
_DETAIL = 2  # the place of the map at stride 8


class DenseConcatenation(nn.Module):
    """Convolutions in a row, each half as wide as the one before (the last two alike), concatenated.

    With stride 2 the first, pointwise, convolution keeps the resolution: a strided depthwise convolution leads on from
    it, and its average goes into the concatenation.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, ceil(H / stride), ceil(W / stride))

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out, a multiple of 2^(blocks - 1). [count]
        blocks: how many convolutions there are, 2 or more. [count]
        stride: 1 or 2. [px]
    """

    def __init__(self, inputs: int, outputs: int, *, blocks: int = 4, stride: int = 1) -> None:
        super().__init__()
        widths = [outputs >> min(place, blocks - 1) for place in range(1, blocks + 1)]
        self.first = conv_norm_act(inputs, widths[0])
        self.rest = nn.ModuleList(conv_norm_act(a, b, 3) for a, b in itertools.pairwise(widths))
        self.down: nn.Module | None = None
        if stride == 2:
            self.down = conv_norm_act(widths[0], widths[0], 3, stride=2, groups=widths[0], act=None)
            self.skip = nn.AvgPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = x = self.first(x)
        if self.down is not None:
            first, x = self.skip(x), self.down(x)
        parts = [first]
        for block in self.rest:
            x = block(x)
            parts.append(x)
        return torch.cat(parts, dim=1)


class ShortTermDense(nn.Module):
    """Two convolutions and three stages of dense concatenations, each opening with stride 2.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, WIDTHS[i], ~H / 2^(i + 1), ~W / 2^(i + 1)) for i from 0 to 4

    Args:
        channels: of the image. [count]
        depths: dense concatenations in each stage. [count]
        blocks: convolutions in each of them. [count]
    """

    def __init__(self, channels: int, depths: tuple[int, int, int], *, blocks: int = 4) -> None:
        super().__init__()
        stem = [conv_norm_act(a, b, 3, stride=2) for a, b in itertools.pairwise((channels, *WIDTHS[:2]))]
        self.stages = nn.ModuleList(stem)
        for (before, after), depth in zip(itertools.pairwise(WIDTHS[1:]), depths, strict=True):
            stage = [DenseConcatenation(before, after, blocks=blocks, stride=2)]
            stage += [DenseConcatenation(after, after, blocks=blocks) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*stage))
        initialise(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


def _declared(source: Shapes, levels: int) -> Shapes:
    maps = [FeatureMap(width, 2 ** (place + 1)) for place, width in enumerate(WIDTHS)]
    return source._replace(pyramid=tuple(maps[-levels:]), taps={**source.taps, "detail": maps[_DETAIL]})


def _handed(f: Features, maps: tuple[Tensor, ...], levels: int) -> Features:
    return f._replace(pyramid=maps[-levels:], taps={**f.taps, "detail": maps[_DETAIL]})


class Stdc1(nn.Module):
    """STDC1: a small encoder whose modules concatenate ever narrower convolutions, two modules to a stage.

    Shape:
        input:  image (N, image_channels, H, W), values in [0, 1]
        output: pyramid of the deepest `levels` of 5: 32, 64, 256, 512 and 1024 channels at strides 2 to 32
        taps:   `detail`, the map at stride 8, which detail guidance supervises

    Args:
        source: what the network knows about the image.
        levels: how many of the deepest maps to hand on; STDC-Seg fuses 3. [count]
        blocks: convolutions that one module concatenates. [count]

    Source:
        Fan et al., Rethinking BiSeNet For Real-time Semantic Segmentation, CVPR 2021, sec. 3.1. arXiv:2104.13188

    Deviations:
        No pretrained weights. The layers that only ImageNet needs are left out, and so is what only training needs: the
        detail head and the auxiliary classifiers. STDC-Seg's way up from here is the align `ffm`.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        levels: Annotated[int, Range(1, 5)] = 4,
        blocks: Annotated[int, Range(2, 6)] = 4,
    ) -> None:
        super().__init__()
        self.levels = levels
        self.normalise = Normalise(source.image_channels)
        self.network = ShortTermDense(source.image_channels, (2, 2, 2), blocks=blocks)
        self.out = _declared(source, levels)

    def forward(self, f: Features) -> Features:
        return _handed(f, self.network(self.normalise(f.image)), self.levels)


class Stdc2(nn.Module):
    """STDC2: as STDC1, with 4, 5 and 3 modules in its stages.

    Shape:
        input:  image (N, image_channels, H, W), values in [0, 1]
        output: pyramid and taps as `Stdc1` has them

    Args:
        source: what the network knows about the image.
        levels: how many of the deepest maps to hand on; STDC-Seg fuses 3. [count]
        blocks: convolutions that one module concatenates. [count]

    Source:
        Fan et al., Rethinking BiSeNet For Real-time Semantic Segmentation, CVPR 2021, sec. 3.1. arXiv:2104.13188

    Deviations:
        As those of `Stdc1`.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        levels: Annotated[int, Range(1, 5)] = 4,
        blocks: Annotated[int, Range(2, 6)] = 4,
    ) -> None:
        super().__init__()
        self.levels = levels
        self.normalise = Normalise(source.image_channels)
        self.network = ShortTermDense(source.image_channels, (4, 5, 3), blocks=blocks)
        self.out = _declared(source, levels)

    def forward(self, f: Features) -> Features:
        return _handed(f, self.network(self.normalise(f.image)), self.levels)
