"""Hamburger: global context as the low-rank part of a map, found by matrix factorisation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.features import FeatureMap
from blocks.layers import BatchNorm, full_precision, group_norm, relu
from blocks.options import Range

_EPSILON = 1e-6


class LowRank(nn.Module):
    """Replace a map without negative numbers by the product of two small matrices, found by multiplicative updates.

    Training draws other bases to start from each time; evaluation starts from those drawn when the module was made.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1, nothing below 0
        output: (N, channels, H, W), nothing below 0

    Args:
        channels: of the map. [count]
        rank: how many bases there are. [count]
        steps: updates of both matrices in training; evaluation takes one more. [count]
    """

    bases: Tensor

    def __init__(self, channels: int, rank: int, *, steps: int = 6) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("bases", _drawn(torch.empty(1, channels, rank)))

    def forward(self, x: Tensor) -> Tensor:
        # Sums over all pixels and quotients of them are beyond half precision.
        with full_precision(x):
            pixels = x.flatten(2).float()
            bases = self.bases.float().expand(x.shape[0], -1, -1)
            if self.training:
                bases = _drawn(torch.empty_like(bases, memory_format=torch.contiguous_format))
            found = factorised(pixels, bases, self.steps if self.training else self.steps + 1)
        return found.to(x.dtype).reshape(x.shape)


def _drawn(bases: Tensor) -> Tensor:
    return F.normalize(bases.uniform_(), dim=1)


def factorised(x: Tensor, bases: Tensor, steps: int) -> Tensor:
    """Approach a matrix by bases times shares, none of them below 0 (Lee and Seung's updates).

    Shape:
        x:      (N, C, P), nothing below 0
        bases:  (N, C, R), nothing below 0
        output: (N, C, P)

    Args:
        x: what is approached.
        bases: where to start.
        steps: how often the shares, then the bases are updated; the shares come last once more. [count]
    """
    shares = (bases.transpose(1, 2) @ x).softmax(dim=1)
    for _ in range(steps):
        shares = _fitted(x, bases, shares)
        turned = shares.transpose(1, 2)
        bases = bases * (x @ turned) / (bases @ (shares @ turned) + _EPSILON)
    return bases @ _fitted(x, bases, shares)


def _fitted(x: Tensor, bases: Tensor, shares: Tensor) -> Tensor:
    turned = bases.transpose(1, 2)
    return shares * (turned @ x) / ((turned @ bases) @ shares + _EPSILON)


class Hamburger(nn.Module):
    """Add to a map its low-rank part, taken and given back through 1x1 convolutions.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        rank: how many bases the factorisation has. [count]
        steps: updates of the factorisation in training; evaluation takes one more. [count]
        norm: behind the last convolution.
    """

    def __init__(self, channels: int, rank: int, *, steps: int = 6, norm: Literal["group", "batch"] = "group") -> None:
        super().__init__()
        self.before = nn.Conv2d(channels, channels, 1)
        self.low_rank = LowRank(channels, rank, steps=steps)
        self.after = _conv(channels, channels, norm)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.after(self.low_rank(torch.relu(self.before(x)))))


def _conv(inputs: int, outputs: int, norm: Literal["group", "batch"]) -> nn.Sequential:
    made = group_norm(outputs) if norm == "group" else BatchNorm(outputs)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), made)


class FactorisedContext(nn.Module):
    """Narrow a map, add its low-rank part, and mix the channels once more.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map; SegNeXt's is three levels, resized to the finest and stacked.
        channels: of the block and of the output. [count]
        rank: how many bases the factorisation has; SegNeXt's 16. [count]
        steps: updates of the factorisation in training; evaluation takes one more. [count]
        norm: `group` (SegNeXt) or `batch` normalisation behind the convolutions; 32 groups where they divide `channels`
            into two or more each, else as many as do.

    Source:
        Geng et al., Is Attention Better Than Matrix Decomposition?, ICLR 2021, sec. 2. arXiv:2109.04553
        Guo et al., SegNeXt: Rethinking Convolutional Attention Design for Semantic Segmentation, NeurIPS 2022,
        sec. 3.2. arXiv:2209.08575

    Deviations:
        The published code draws bases anew for every image in evaluation too, so that one image gives other logits each
        time; here evaluation starts from bases that are part of the weights. As in SegNeXt, all steps are
        differentiated, where Hamburger's own code differentiates the last.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        rank: Annotated[int, Range(1, 512)] = 64,
        steps: Annotated[int, Range(1, 32)] = 6,
        norm: Literal["group", "batch"] = "group",
    ) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(_conv(source.channels, channels, norm), relu())
        self.hamburger = Hamburger(channels, rank, steps=steps, norm=norm)
        self.mix = nn.Sequential(_conv(channels, channels, norm), relu())
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(self.hamburger(self.squeeze(x)))
        return mixed
