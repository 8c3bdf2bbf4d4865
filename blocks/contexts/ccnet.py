"""Criss-cross attention (CCNet)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from blocks.features import FeatureMap
from blocks.layers import conv_norm_act, leaky, relu
from blocks.options import Range


class CrissCrossAttention(nn.Module):
    """Add to every pixel what it attends to in its own row and column.

    Memory grows with N * H * W * (H + W).

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map; queries and keys have an eighth of it. [count]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        keys = max(1, channels // 8)
        self.query = nn.Conv2d(channels, keys, 1)
        self.key = nn.Conv2d(channels, keys, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        # As published: the map stays as it is at first.
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        # Pixels as (H, N, W, C): rows and columns can both be multiplied where they lie, and 1x1 convolutions do not
        # mind that rows are taken for images.
        x = x.permute(2, 1, 0, 3).contiguous(memory_format=torch.channels_last)
        query, key, value = (
            project(x).permute(0, 2, 3, 1).contiguous() for project in (self.query, self.key, self.value)
        )
        along = query @ key.transpose(2, 3)  # (H, N, W, W)
        down = _columns(query) @ _columns(key).transpose(2, 3)  # (N, W, H, H)
        # A pixel lies in its row and in its column, and counts once.
        itself = torch.eye(down.shape[-1], dtype=torch.bool, device=x.device)
        down = down.masked_fill(itself, -torch.inf).permute(2, 0, 1, 3)
        weights = self.gamma * torch.cat([down, along], dim=3).softmax(dim=3)
        down, along = torch.split(weights, [down.shape[3], along.shape[3]], dim=3)
        found: Tensor = along @ value
        # In place: another map of this size would cost more than the addition.
        found.add_((_columns(down) @ _columns(value)).permute(2, 0, 1, 3)).add_(x.permute(0, 2, 3, 1))
        return found.permute(1, 3, 0, 2)


def _columns(rows: Tensor) -> Tensor:
    """View (H, N, W, C) as (N, W, H, C)."""
    return rows.permute(1, 2, 0, 3)


class CrissCross(nn.Module):
    """Let every pixel attend to its row and column, twice and so to all pixels, beside the map; then fuse.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        channels: channels of the fused map. [count]
        recurrence: how often the attention is applied, with the same weights. [count]
        variant: LeakyReLU and attention on a quarter of the channels that come in (`ccnet`, the authors' code), or
            ReLU and attention on `channels` (`mmseg`).

    Source:
        Huang et al., CCNet: Criss-Cross Attention for Semantic Segmentation, ICCV 2019, sec. 3. arXiv:1811.11721

    Deviations:
        The authors' in-place normalisation takes the magnitude of its weight; here it is the plain one. The dropout of
        0.1 after the fusion is the head's.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        recurrence: Annotated[int, Range(1, 8)] = 2,
        variant: Literal["ccnet", "mmseg"] = "ccnet",
    ) -> None:
        super().__init__()
        act = leaky if variant == "ccnet" else relu
        inner = max(1, source.channels // 4) if variant == "ccnet" else channels
        self.recurrence = recurrence
        self.reduce = conv_norm_act(source.channels, inner, 3, act=act)
        self.attention = CrissCrossAttention(inner)
        self.after = conv_norm_act(inner, inner, 3, act=act)
        self.fuse = conv_norm_act(source.channels + inner, channels, 3, act=act)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        context = self.reduce(x)
        for _ in range(self.recurrence):
            context = self.attention(context)
        fused: Tensor = self.fuse(torch.cat([x, self.after(context)], dim=1))
        return fused
