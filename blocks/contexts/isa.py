"""Interlaced sparse self-attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from blocks.attention import Size, attend_maps, cells, cropped, interleaved, joined, padded, phases
from blocks.features import FeatureMap
from blocks.layers import conv_norm_act, size_of
from blocks.options import Range

Variant = Literal["openseg", "mmseg"]


class PartAttention(nn.Module):
    """Self-attention among the pixels of each part of a map.

    Shape:
        input:  (N, inputs, H, W), a map that can be cut into the parts
        output: (N, outputs, H, W)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
        keys: width of queries and keys. [count]
        values: width of values. [count]
        bias: give the values one.
    """

    def __init__(self, inputs: int, outputs: int, keys: int, values: int, *, bias: bool) -> None:
        super().__init__()
        self.scale = keys**-0.5
        self.key = nn.Sequential(conv_norm_act(inputs, keys), conv_norm_act(keys, keys))
        self.query = nn.Sequential(conv_norm_act(inputs, keys), conv_norm_act(keys, keys))
        self.value = nn.Conv2d(inputs, values, 1, bias=bias)
        self.up = conv_norm_act(values, outputs)

    def forward(self, x: Tensor, cut: Callable[[Tensor], Tensor], join: Callable[[Tensor], Tensor]) -> Tensor:
        # What works pixel by pixel does so on the whole map, where it is faster.
        query, key, value = (cut(project(x)) for project in (self.query, self.key, self.value))
        up: Tensor = self.up(join(attend_maps(query, key, value, scale=self.scale)))
        return up


class InterlacedAttention(nn.Module):
    """A map beside attention among far pixels, then among near ones, fused.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, H, W)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
        keys: width of queries and keys. [count]
        values: width of values. [count]
        window: height and width of the blocks of near pixels, and the distance between far ones. [px]
        variant: see `InterlacedSparseAttention`.
    """

    def __init__(
        self, inputs: int, outputs: int, keys: int, values: int, window: Size, *, variant: Variant = "openseg"
    ) -> None:
        super().__init__()
        self.window = window
        self.map_last = bias = variant == "mmseg"
        self.far = PartAttention(inputs, outputs, keys, values, bias=bias)
        self.near = PartAttention(outputs, outputs, keys, values, bias=bias)
        self.fuse = conv_norm_act(inputs + outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        # The zeros are attended to as pixels are: nothing is masked.
        context = padded(x, self.window, centred=True)
        height, width = size_of(context)
        grid = height // self.window[0], width // self.window[1]
        context = self.far(context, lambda t: phases(t, self.window), lambda t: interleaved(t, self.window))
        context = self.near(context, lambda t: cells(t, grid), lambda t: joined(t, grid))
        context = cropped(context, size_of(x), centred=True)
        fused: Tensor = self.fuse(torch.cat([context, x] if self.map_last else [x, context], dim=1))
        return fused


class InterlacedSparseAttention(nn.Module):
    """Let pixels attend to those at equal places in all blocks, then to those of their own block.

    Two sparse steps through which each pixel hears of every other, instead of one dense one.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        channels: of the 3x3 convolution before, of the values and of the fused map. [count]
        keys: width of queries and keys. [count]
        window: height and width of a block; maps are padded with zeros to whole ones, and the zeros take part. [px]
        variant: the authors' code (`openseg`); `mmseg` gives the values a bias, which zeros then bring with them, and
            puts the map last where it is concatenated.

    Source:
        Huang et al., Interlaced Sparse Self-Attention for Semantic Segmentation, 2019, sec. 3. arXiv:1907.12273
        Yuan et al., OCNet: Object Context for Semantic Segmentation, IJCV 2021, sec. 3.3.

    Deviations:
        The dropout of 0.05 after the fusion is the head's.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        keys: Annotated[int, Range(1, 1024)] = 256,
        window: Annotated[tuple[int, int], Range(1, 64)] = (8, 8),
        variant: Variant = "openseg",
    ) -> None:
        super().__init__()
        self.reduce = conv_norm_act(source.channels, channels, 3, bias=variant == "openseg")
        self.attention = InterlacedAttention(channels, channels, keys, channels, window, variant=variant)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.attention(self.reduce(x))
        return fused
