"""Dual attention (DANet): over positions and over channels."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from blocks.attention import attend_maps
from blocks.features import FeatureMap
from blocks.layers import conv_norm_act, full_precision
from blocks.options import Range, When

Branches = Literal["both", "position", "channel"]


class PositionAttention(nn.Module):
    """Add to each pixel the values of all pixels, weighed by the softmax of unscaled products (PAM).

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, inputs, H, W), at first the input

    Args:
        inputs: channels of the map. [count]
        keys: channels of queries and keys. [count]
    """

    def __init__(self, inputs: int, keys: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(inputs, keys, 1)
        self.key = nn.Conv2d(inputs, keys, 1)
        self.value = nn.Conv2d(inputs, inputs, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gamma * attend_maps(self.query(x), self.key(x), self.value(x))


class ChannelAttention(nn.Module):
    """Add to each channel all channels, weighed the more the less they resemble it (CAM).

    Shape:
        input:  (N, C, H, W), any H, W >= 1
        output: (N, C, H, W), at first the input
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            channels = x.float().flatten(2)
            energy = channels @ channels.transpose(1, 2)
            # The published softmax of (largest of the row - energy): what all of a row share drops out.
            taken = (-energy).softmax(dim=2) @ channels
        return x + self.gamma * taken.to(x.dtype).reshape(x.shape)


class DualAttention(nn.Module):
    """Attend to positions and to channels, each between two 3x3 convolutions, and add the two up.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        channels: of both branches, and of the output; a quarter of `source.channels` in the paper. [count]
        branches: both, or one of them alone.
        reduction: how many times narrower queries and keys of the position branch are than the map. [ratio]

    Source:
        Fu et al., Dual Attention Network for Scene Segmentation, CVPR 2019, sec. 3. arXiv:1809.02983

    Deviations:
        The classifiers of the single branches, which serve only training, are left out. Channel attention follows the
        authors' code, whose softmax of (largest - energy) gives unlike channels the most weight; equation 3 gives it
        to like ones.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        branches: Branches = "both",
        reduction: Annotated[int, Range(1, 64), When("branches", "both", "position")] = 8,
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        if branches != "channel":
            blocks.append(PositionAttention(channels, max(1, channels // reduction)))
        if branches != "position":
            blocks.append(ChannelAttention())
        self.before = nn.ModuleList(conv_norm_act(source.channels, channels, 3) for _ in blocks)
        self.blocks = nn.ModuleList(blocks)
        self.after = nn.ModuleList(conv_norm_act(channels, channels, 3) for _ in blocks)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        branches = zip(self.before, self.blocks, self.after, strict=True)
        first, *rest = (after(block(before(x))) for before, block, after in branches)
        total: Tensor = sum(rest, first)
        return total
