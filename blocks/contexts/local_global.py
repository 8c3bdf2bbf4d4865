"""Local-to-global self-attention: the same windows on a map and on coarser copies of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from blocks.features import FeatureMap
from blocks.layers import resize, size_of
from blocks.options import Range
from blocks.windows import WindowAttention, head_count, mlp


class LocalGlobalBlock(nn.Module):
    """A transformer block whose attention is the sum of window attentions on the map and on its averages.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        heads: a divisor of the channels. [count]
        window: side of a window, the same on every path. [px]
        rates: how many times coarser each path is. [count]
        mlp_ratio: width of the hidden layer. [times the channels]
        align_corners: how the coarse paths are resized.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        window: int,
        rates: Sequence[int],
        mlp_ratio: float,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.rates = tuple(rates)
        self.align_corners = align_corners
        self.norm1 = nn.LayerNorm(channels)
        self.paths = nn.ModuleList(WindowAttention(channels, heads=heads, window=window) for _ in rates)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = mlp(channels, mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        size = size_of(x)
        normed = _over_channels(self.norm1, x)
        for rate, path in zip(self.rates, self.paths, strict=True):
            height, width = (-(-side // rate) for side in size)
            coarse = F.adaptive_avg_pool2d(normed, (height, width)) if rate > 1 else normed
            x = x + resize(path(coarse), size, self.align_corners)
        return x + _over_channels(nn.Sequential(self.norm2, self.mlp), x)


class LocalToGlobalAttention(nn.Module):
    """Attend inside windows of a map and of coarser copies of it at once, so that the last path sees it whole.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, source.channels, H, W)

    Args:
        source: the incoming map.
        align_corners: how the coarse paths are resized.
        depth: how many blocks follow each other. [count]
        head_width: least channels of a head; as many heads as divide the channels evenly. [count]
        window: greatest side of a window, the same on every path. [px]
        rates: how many times coarser each path is: the last is global where it fits the map into one window. [count]
        mlp_ratio: width of the hidden layer. [times the channels]

    Source:
        Li et al., Local-to-Global Self-Attention in Vision Transformers, 2021, sec. 3.2. arXiv:2107.04735

    Deviations:
        Unverified: the authors' repository holds no code. Paths have attention of their own and share the layer norm
        before and the MLP behind their sum; copies are averages and come back bilinearly; windows are not shifted. On
        maps that are no multiple of the window some windows are a pixel smaller.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        align_corners: bool = False,
        *,
        depth: Annotated[int, Range(1, 8)] = 1,
        head_width: Annotated[int, Range(4, 256)] = 32,
        window: Annotated[int, Range(1, 32)] = 7,
        rates: Annotated[tuple[int, ...], Range(1, 64)] = (1, 2, 4),
        mlp_ratio: Annotated[float, Range(0.25, 8.0)] = 4.0,
    ) -> None:
        super().__init__()
        blocks = [
            LocalGlobalBlock(
                source.channels,
                heads=head_count(source.channels, head_width),
                window=window,
                rates=rates,
                mlp_ratio=mlp_ratio,
                align_corners=align_corners,
            )
            for _ in range(depth)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.out = source

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.blocks(x)
        return mixed


def _over_channels(layer: nn.Module, x: Tensor) -> Tensor:
    """Put a layer that reads channels last to every pixel of a map."""
    done: Tensor = layer(x.permute(0, 2, 3, 1))
    return done.permute(0, 3, 1, 2).contiguous()
