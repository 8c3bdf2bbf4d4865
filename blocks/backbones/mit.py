"""Mix Transformer: overlapping patches, attention to a reduced map, a depthwise convolution for position."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.attention import attend
from blocks.backbones.initialise import initialise
from blocks.backbones.normalise import Normalise
from blocks.features import FeatureMap, Features, Shapes
from blocks.options import Range

HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
_EXPANSION = 4


@dataclass(frozen=True, slots=True)
class _Size:
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]


_SMALL, _WIDE = (32, 64, 160, 256), (64, 128, 320, 512)
SIZES: Mapping[str, _Size] = {
    "b0": _Size(_SMALL, (2, 2, 2, 2)),
    "b1": _Size(_WIDE, (2, 2, 2, 2)),
    "b2": _Size(_WIDE, (3, 4, 6, 3)),
    "b3": _Size(_WIDE, (3, 4, 18, 3)),
    "b4": _Size(_WIDE, (3, 8, 27, 3)),
    "b5": _Size(_WIDE, (3, 6, 40, 3)),
}


def _first(x: Tensor) -> Tensor:
    """From channels last to channels first, as a view: convolutions then run in the layout that they find."""
    return x.permute(0, 3, 1, 2)


def _last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


class OverlappingPatches(nn.Module):
    """Embed patches that overlap their neighbours, and normalise them.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, ceil(H / stride), ceil(W / stride), outputs)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
        kernel: odd side of a patch. [px]
        stride: distance between patches. [px]
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 2) -> None:
        super().__init__()
        self.project = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        embedded: Tensor = self.norm(_last(self.project(x)))
        return embedded


class ReducedAttention(nn.Module):
    """Let every pixel attend to a map whose sides are reduced by a strided convolution.

    Shape:
        input:  (N, H, W, channels), any H, W >= 1
        output: (N, H, W, channels)

    Args:
        channels: of the map, a multiple of `heads`. [count]
        heads: how many attentions share the channels. [count]
        reduction: how much smaller the sides of the map are that is attended to. [ratio]
    """

    def __init__(self, channels: int, *, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.reduction = reduction
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        if reduction > 1:
            self.reduce = nn.Conv2d(channels, channels, reduction, reduction)
            self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        images, width = x.shape[0], x.shape[3] // self.heads
        query = self.query(x).reshape(images, -1, self.heads, width).transpose(1, 2)
        pair = self.key_value(self._reduced(x)).reshape(images, -1, 2, self.heads, width)
        key, value = pair.permute(2, 0, 3, 1, 4)
        read = attend(query, key, value, scale=1 / math.sqrt(width))
        out: Tensor = self.project(read.transpose(1, 2).reshape(x.shape))
        return out

    def _reduced(self, x: Tensor) -> Tensor:
        if self.reduction == 1:
            return x
        # As published, rows and columns that fill no whole patch are dropped, but one patch there must be.
        below, beside = (max(0, self.reduction - side) for side in x.shape[1:3])
        reduced: Tensor = self.norm(_last(self.reduce(F.pad(_first(x), (0, beside, 0, below)))))
        return reduced


class MixFeedForward(nn.Module):
    """A feed-forward network with a depthwise 3x3 convolution inside, which tells where a pixel lies.

    Shape:
        input:  (N, H, W, channels), any H, W >= 1
        output: (N, H, W, channels)

    Args:
        channels: of the map. [count]
        hidden: channels inside. [count]
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, hidden)
        self.mix = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.shrink = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        mixed = _last(self.mix(_first(self.expand(x))))
        out: Tensor = self.shrink(F.gelu(mixed))
        return out


class MixBlock(nn.Module):
    """Attention and feed-forward network, each on the normalised map and added to it.

    Shape:
        input:  (N, H, W, channels), any H, W >= 1
        output: (N, H, W, channels)

    Args:
        channels: of the map, a multiple of `heads`. [count]
        heads: how many attentions share the channels. [count]
        reduction: how much smaller the sides of the map are that is attended to. [ratio]
        drop_path: how often an image skips a part in training. [probability]
    """

    def __init__(self, channels: int, *, heads: int, reduction: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attention = ReducedAttention(channels, heads=heads, reduction=reduction)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.feed_forward = MixFeedForward(channels, _EXPANSION * channels)
        self.drop = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.norm1(x)))
        out: Tensor = x + self.drop(self.feed_forward(self.norm2(x)))
        return out


class MixTransformer(nn.Module):
    """SegFormer's encoder: four stages of blocks, each opening with overlapping patches.

    Shape:
        input:  image (N, image_channels, H, W), values in [0, 1]
        output: pyramid of the deepest `levels` of 4, at strides 4, 8, 16 and 32: 32, 64, 160 and 256 channels (`b0`),
            or twice as many (`b1` to `b5`)

    Args:
        source: what the network knows about the image.
        size: `b0` to `b5`: wider from `b1` on, deeper from `b2` on.
        levels: how many of the deepest maps to hand on. [count]
        drop_path: largest rate of stochastic depth, rising linearly from 0 over the blocks. [probability]

    Source:
        Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers, NeurIPS 2021,
        sec. 3.1. arXiv:2105.15203

    Deviations:
        No pretrained weights. A map smaller than the patch that it is reduced by is filled up with zeros.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        size: Literal["b0", "b1", "b2", "b3", "b4", "b5"] = "b0",
        levels: Annotated[int, Range(1, 4)] = 4,
        drop_path: Annotated[float, Range(0.0, 0.9)] = 0.1,
    ) -> None:
        super().__init__()
        widths, depths = SIZES[size].widths, SIZES[size].depths
        last = max(1, sum(depths) - 1)
        rates = iter([drop_path * place / last for place in range(sum(depths))])
        self.levels = levels
        self.normalise = Normalise(source.image_channels)
        self.embeddings, self.stages, self.norms = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for place, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            before = widths[place - 1] if place else source.image_channels
            kernel, stride = (3, 2) if place else (7, 4)
            kind = {"heads": HEADS[place], "reduction": REDUCTIONS[place]}
            self.embeddings.append(OverlappingPatches(before, width, kernel=kernel, stride=stride))
            self.stages.append(nn.Sequential(*(MixBlock(width, **kind, drop_path=next(rates)) for _ in range(depth))))
            self.norms.append(nn.LayerNorm(width, eps=1e-6))
        initialise(self, per_group=True)
        pyramid = tuple(FeatureMap(width, 4 << place) for place, width in enumerate(widths))
        self.out = source._replace(pyramid=pyramid[-levels:])

    def forward(self, f: Features) -> Features:
        x, maps = self.normalise(f.image), []
        for embed, stage, norm in zip(self.embeddings, self.stages, self.norms, strict=True):
            x = _first(norm(stage(embed(x))))
            maps.append(x.contiguous())
        return f._replace(pyramid=tuple(maps[-self.levels :]))
