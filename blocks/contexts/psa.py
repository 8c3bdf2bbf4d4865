"""Polarized self-attention: one gate over channels, one over pixels."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from blocks.features import FeatureMap
from blocks.layers import relu

Form = Literal["parallel", "sequential", "paper"]


class ChannelGate(nn.Module):
    """A weight in (0, 1) for every channel, from a weighted mean over the pixels.

    Shape:
        input:  (N, channels, H, W)
        output: (N, channels, 1, 1)

    Args:
        channels: of the map. [count]
        form: what leads from the mean to the gate: a convolution (`parallel`), a bottleneck with layer normalisation
            (`sequential`), a convolution and layer normalisation (`paper`).
    """

    def __init__(self, channels: int, *, form: Form) -> None:
        super().__init__()
        half, eighth = max(1, channels // 2), max(1, channels // 8)
        self.query = nn.Conv2d(channels, 1, 1, bias=False)
        self.value = nn.Conv2d(channels, half, 1, bias=False)
        if form == "sequential":
            squeeze, grow = nn.Conv2d(half, eighth, 1), nn.Conv2d(eighth, channels, 1)
            self.up = nn.Sequential(squeeze, nn.LayerNorm([eighth, 1, 1]), relu(), grow)
        else:
            norm = [nn.LayerNorm([channels, 1, 1])] if form == "paper" else []
            self.up = nn.Sequential(nn.Conv2d(half, channels, 1, bias=False), *norm)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.query(x).flatten(2).softmax(dim=-1)
        mean = self.value(x).flatten(2) @ weight.transpose(1, 2)
        return torch.sigmoid(self.up(mean.unsqueeze(-1)))


class SpatialGate(nn.Module):
    """A weight in (0, 1) for every pixel, from its likeness to the mean of the map.

    Shape:
        input:  (N, channels, H, W)
        output: (N, 1, H, W)

    Args:
        channels: of the map. [count]
        form: what the softmax runs over: the pixels of the likeness (`parallel`), the pixels of the values
            (`sequential`), the channels of the mean (`paper`).
    """

    def __init__(self, channels: int, *, form: Form) -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.form = form
        self.query = nn.Conv2d(channels, half, 1, bias=False)
        self.value = nn.Conv2d(channels, half, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x).mean(dim=(2, 3)).unsqueeze(1)
        value = self.value(x).flatten(2)
        if self.form == "parallel":
            likeness = (query @ value).softmax(dim=-1)
        elif self.form == "sequential":
            likeness = query @ value.softmax(dim=-1)
        else:
            likeness = query.softmax(dim=-1) @ value
        return torch.sigmoid(likeness).reshape(x.shape[0], 1, *x.shape[2:])


class PolarizedSelfAttention(nn.Module):
    """Weigh channels and pixels by two gates that keep full resolution in one dimension each.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, source.channels, H, W)

    Args:
        source: the incoming map.
        mode: `parallel` adds the map under both gates; `sequential` gates channels first, then pixels of the result.
        variant: `code` as the authors released it, `paper` as equations 2 and 3 have it.

    Source:
        Liu et al., Polarized Self-Attention: Towards High-quality Pixel-wise Regression, 2021, sec. 3.2.
        arXiv:2107.00782

    Deviations:
        None from the authors' code, which departs from the paper: its parallel form has no layer normalisation after
        the channel projection, its sequential one a bottleneck, and the softmax of the spatial gate runs over pixels.
        In the parallel form that leaves the spatial gate near 0.5 everywhere; `variant: paper` does not.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        mode: Literal["parallel", "sequential"] = "parallel",
        variant: Literal["code", "paper"] = "code",
    ) -> None:
        super().__init__()
        form: Form = "paper" if variant == "paper" else mode
        self.parallel = mode == "parallel"
        self.channel = ChannelGate(source.channels, form=form)
        self.spatial = SpatialGate(source.channels, form=form)
        self.out = source

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = x * self.channel(x)
        return gated + self._weigh(x) if self.parallel else self._weigh(gated)

    def _weigh(self, x: Tensor) -> Tensor:
        weighed: Tensor = x * self.spatial(x)
        return weighed
