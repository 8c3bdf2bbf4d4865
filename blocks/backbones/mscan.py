"""MSCAN: attention weights from strip convolutions of several lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from timm.layers import DropPath, LayerNorm2d
from torch import Tensor, nn

from blocks.backbones.initialise import initialise
from blocks.backbones.normalise import Normalise
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import BatchNorm
from blocks.options import Range

STRIPS = (7, 11, 21)
_EXPANSIONS = (8, 8, 4, 4)
_SCALE = 1e-2


@dataclass(frozen=True, slots=True)
class _Size:
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]


_NARROW, _WIDE = (32, 64, 160, 256), (64, 128, 320, 512)
SIZES: Mapping[str, _Size] = {
    "tiny": _Size(_NARROW, (3, 3, 5, 2)),
    "small": _Size(_WIDE, (2, 2, 4, 2)),
    "base": _Size(_WIDE, (3, 3, 12, 3)),
    "large": _Size(_WIDE, (3, 5, 27, 3)),
}


def _depthwise(channels: int, height: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, (height, width), padding=(height // 2, width // 2), groups=channels)


class StripAttention(nn.Module):
    """Weigh a map by what depthwise convolutions of several lengths see around each pixel (MSCA).

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        strips: lengths of the pairs of strip convolutions. [px]
    """

    def __init__(self, channels: int, *, strips: tuple[int, ...] = STRIPS) -> None:
        super().__init__()
        self.local = _depthwise(channels, 5, 5)
        self.strips = nn.ModuleList(
            nn.Sequential(_depthwise(channels, 1, length), _depthwise(channels, length, 1)) for length in strips
        )
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        near = self.local(x)
        total = near
        for strip in self.strips:
            total = total + strip(near)
        weighed: Tensor = x * self.mix(total)
        return weighed


class StripBlock(nn.Module):
    """Strip attention between two pointwise convolutions, and a feed-forward network, scaled by channel and added.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        expansion: hidden channels of the feed-forward network over channels. [ratio]
        drop_path: how often an image skips a part in training. [probability]
    """

    def __init__(self, channels: int, *, expansion: int, drop_path: float = 0.0) -> None:
        super().__init__()
        hidden = expansion * channels
        self.norm1 = BatchNorm(channels)
        self.attention = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.GELU(), StripAttention(channels), nn.Conv2d(channels, channels, 1)
        )
        self.norm2 = BatchNorm(channels)
        self.feed_forward = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), _depthwise(hidden, 3, 3), nn.GELU(), nn.Conv2d(hidden, channels, 1)
        )
        self.scale1 = nn.Parameter(torch.full((channels, 1, 1), _SCALE))
        self.scale2 = nn.Parameter(torch.full((channels, 1, 1), _SCALE))
        self.drop = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        normal = self.norm1(x)
        x = x + self.drop(self.scale1 * (normal + self.attention(normal)))
        out: Tensor = x + self.drop(self.scale2 * self.feed_forward(self.norm2(x)))
        return out


class MultiScaleAttention(nn.Module):
    """SegNeXt's encoder: four stages of blocks whose attention weights come from strip convolutions.

    Shape:
        input:  image (N, image_channels, H, W), values in [0, 1]
        output: pyramid of the deepest `levels` of 4, at strides 4, 8, 16 and 32: 32, 64, 160 and 256 channels
            (`tiny`), or twice as many

    Args:
        source: what the network knows about the image.
        size: `tiny`, `small`, `base` or `large`: all but the first are of one width.
        levels: how many of the deepest maps to hand on; SegNeXt's own head reads 3. [count]
        drop_path: largest rate of stochastic depth, rising linearly from 0 over the blocks; `large` was trained with
            0.3. [probability]

    Source:
        Guo et al., SegNeXt: Rethinking Convolutional Attention Design for Semantic Segmentation, NeurIPS 2022,
        sec. 3.1. arXiv:2209.08575

    Deviations:
        No pretrained weights. Followed is the authors' code: inside the shortcut around the block there is another
        around the attention, which starts from the normalised map, and a layer normalisation ends each stage.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        size: Literal["tiny", "small", "base", "large"] = "tiny",
        levels: Annotated[int, Range(1, 4)] = 4,
        drop_path: Annotated[float, Range(0.0, 0.9)] = 0.1,
    ) -> None:
        super().__init__()
        widths, depths = SIZES[size].widths, SIZES[size].depths
        last = max(1, sum(depths) - 1)
        rates = iter([drop_path * place / last for place in range(sum(depths))])
        self.levels = levels
        self.normalise = Normalise(source.image_channels)
        self.stages = nn.ModuleList()
        for place, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            start = _step(widths[place - 1], width) if place else _stem(source.image_channels, width)
            blocks = [StripBlock(width, expansion=_EXPANSIONS[place], drop_path=next(rates)) for _ in range(depth)]
            self.stages.append(nn.Sequential(*start, *blocks, LayerNorm2d(width, eps=1e-5)))
        initialise(self, per_group=True)
        pyramid = tuple(FeatureMap(width, 4 << place) for place, width in enumerate(widths))
        self.out = source._replace(pyramid=pyramid[-levels:])

    def forward(self, f: Features) -> Features:
        x, maps = self.normalise(f.image), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return f._replace(pyramid=tuple(maps[-self.levels :]))


def _step(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, 2, 1), BatchNorm(outputs)]


def _stem(inputs: int, outputs: int) -> list[nn.Module]:
    return [*_step(inputs, outputs // 2), nn.GELU(), *_step(outputs // 2, outputs)]
