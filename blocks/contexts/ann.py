"""Asymmetric non-local network (ANN): pixels attend to averages of a map instead of to all of its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.attention import tokens
from blocks.features import FeatureMap, Features, Shapes, current, replaced
from blocks.layers import conv_norm_act, relu, size_of
from blocks.options import Range


class AsymmetricBlock(nn.Module):
    """Let the pixels of a map attend to averages of a lower level (AFNB), or of the map itself (APNB), then fuse.

    Of two maps, each has its own projection and the fused map is not rectified; of one, queries and keys are the same.

    Shape:
        low:    (N, low, h, w), any h, w >= 1
        high:   (N, high, H, W), or None
        output: (N, outputs, H, W), the size of low without high

    Args:
        low: channels of the map that keys and values are taken from. [count]
        outputs: channels that go out. [count]
        high: channels of the map that queries are taken from; None where it is the same map. [count]
        keys: channels of queries and keys. [count]
        values: channels of values. [count]
        bins: grid sizes to average keys and values over. [cells per side]
        dropout: of whole channels, at the end. [probability]
        bias: give convolutions before a normalisation, which undoes it, a bias (the authors) or none (mmsegmentation).
    """

    def __init__(
        self,
        low: int,
        outputs: int,
        high: int | None = None,
        *,
        keys: int,
        values: int,
        bins: Sequence[int] = (1, 3, 6, 8),
        dropout: float = 0.05,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.bins = tuple(bins)
        self.scale = keys**-0.5
        self.key = conv_norm_act(low, keys, bias=bias)
        self.query = None if high is None else conv_norm_act(high, keys, bias=bias)
        self.value = nn.Conv2d(low, values, 1)
        self.project = nn.Conv2d(values, outputs, 1)
        for parameter in self.project.parameters():
            nn.init.zeros_(parameter)  # at first nothing is taken
        width = outputs + (low if high is None else high)
        fuse = conv_norm_act(width, outputs, bias=bias, act=relu if high is None else None)
        self.fuse = nn.Sequential(fuse, nn.Dropout2d(dropout))

    def forward(self, low: Tensor, high: Tensor | None = None) -> Tensor:
        x, key = (low if high is None else high), self.key(low)
        query = key if self.query is None else self.query(x)
        # An average of values is the value of an average, which is cheaper.
        taken = self._taken(query, self._averages(key), self.value(self._averages(low)))
        fused: Tensor = self.fuse(torch.cat((self.project(taken), x), dim=1))
        return fused

    def _taken(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        # So few keys that their weights are no larger than a map; channels first, no map is turned around.
        logits = (self.scale * tokens(key)) @ query.flatten(2)
        taken: Tensor = value.flatten(2) @ logits.softmax(dim=1)
        return taken.reshape(query.shape[0], -1, *size_of(query))

    def _averages(self, x: Tensor) -> Tensor:
        return torch.cat([F.adaptive_avg_pool2d(x, bins).flatten(2) for bins in self.bins], dim=2).unsqueeze(3)


class AsymmetricBlocks(nn.Module):
    """Fuse with a lower level, narrow with a 3x3 convolution, and attend to averages of the result.

    Shape:
        high:   (N, high, H, W), any H, W >= 1
        low:    (N, low, h, w), any h, w >= 1; not read without the fusion
        output: (N, channels, H, W)

    Args:
        high: channels of the map. [count]
        low: channels of the lower level; None leaves the fusion out. [count]
        channels: of the output. [count]
        keys: channels of queries and keys. [count]
        values: channels of values. [count]
        bins: grid sizes to average keys and values over. [cells per side]
        dropout: of whole channels, after both blocks. [probability]
        bias: give convolutions before a normalisation, which undoes it, a bias (the authors) or none (mmsegmentation).
    """

    def __init__(
        self,
        high: int,
        low: int | None,
        channels: int,
        *,
        keys: int,
        values: int,
        bins: Sequence[int] = (1, 3, 6, 8),
        dropout: float = 0.05,
        bias: bool = True,
    ) -> None:
        super().__init__()

        def block(*widths: int) -> AsymmetricBlock:
            return AsymmetricBlock(*widths, keys=keys, values=values, bins=bins, dropout=dropout, bias=bias)

        self.fusion = None if low is None else block(low, high, high)
        self.narrow = conv_norm_act(high, channels, 3, bias=bias)
        self.pyramid = block(channels, channels)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        if self.fusion is not None:
            high = self.fusion(low, high)
        found: Tensor = self.pyramid(self.narrow(high))
        return found


class AsymmetricNonLocal(nn.Module):
    """Let every pixel attend to averages of a lower level, then of its own, over grids of several sizes.

    Shape:
        input:  Features
        output: Features with the deepest level (`context`) or the aligned map (`refine`) at `channels`

    Args:
        source: what reaches the stage. The lower level is the last but one of the pyramid, of any size; where the
            pyramid has a single level, the map is fused with averages of itself.
        channels: of the output. [count]
        keys: channels of queries and keys. [count]
        values: channels of values. [count]
        bins: grid sizes to average keys and values over. [cells per side]
        fusion: attend to the lower level first (AFNB).
        dropout: of whole channels, after both blocks. [probability]

    Source:
        Zhu et al., Asymmetric Non-local Neural Networks for Semantic Segmentation, ICCV 2019, sec. 3.
        arXiv:1908.07678

    Deviations:
        Same numbers, cheaper: values are projected after they are averaged, and the shared projection of queries and
        keys runs once. (The authors' code runs it twice, which moves its running statistics twice a step.)
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        keys: Annotated[int, Range(1, 1024)] = 256,
        values: Annotated[int, Range(1, 1024)] = 256,
        bins: Annotated[tuple[int, ...], Range(1, 32)] = (1, 3, 6, 8),
        fusion: bool = True,
        dropout: Annotated[float, Range(0.0, 0.9)] = 0.05,
    ) -> None:
        super().__init__()
        high = current(source)
        low = source.pyramid[-2] if len(source.pyramid) > 1 else high
        self.blocks = AsymmetricBlocks(
            high.channels,
            low.channels if fusion else None,
            channels,
            keys=keys,
            values=values,
            bins=bins,
            dropout=dropout,
        )
        self.out = replaced(source, FeatureMap(channels, high.stride))

    def forward(self, f: Features) -> Features:
        x = current(f)
        return replaced(f, self.blocks(x, f.pyramid[-2] if len(f.pyramid) > 1 else x))
