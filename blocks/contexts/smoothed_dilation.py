"""Smoothed dilated convolutions: pixels that dilation keeps apart get to know each other."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.attention import cropped, interleaved, padded, phases
from blocks.features import FeatureMap
from blocks.layers import BatchNorm, relu, size_of
from blocks.options import Range


class GroupInteraction(nn.Module):
    """A dilated 3x3 convolution taken apart into its rate * rate groups, which are mixed before they are put together.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1; zeros are added until the rate divides them
        output: (N, outputs, H, W)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
        rate: the dilation. [px]
    """

    def __init__(self, inputs: int, outputs: int, rate: int) -> None:
        super().__init__()
        self.steps = (rate, rate)
        self.mixing = nn.Parameter(torch.eye(rate**2))  # from group (rows) to group (columns)
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        groups = self.conv(phases(padded(x, self.steps), self.steps))
        mixed = self.mixing.t() @ groups.reshape(len(x), len(self.mixing), -1)
        return cropped(interleaved(mixed.reshape(groups.shape), self.steps), size_of(x))


class SeparableShared(nn.Module):
    """A dilated 3x3 convolution behind one filter, shared by all channels, as wide as the dilation leaves gaps.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, H, W)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
        rate: the dilation. [px]
    """

    def __init__(self, inputs: int, outputs: int, rate: int) -> None:
        super().__init__()
        side = 2 * rate - 1
        self.smoothing = nn.Parameter(nn.init.dirac_(torch.empty(1, 1, side, side)))
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=rate, dilation=rate, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        channels, reach = x.shape[1], self.smoothing.shape[-1] // 2
        shared = self.smoothing.expand(channels, -1, -1, -1)
        smoothed: Tensor = self.conv(F.conv2d(x, shared, padding=reach, groups=channels))
        return smoothed


class SmoothedResidual(nn.Module):
    """A residual pair of dilated 3x3 convolutions without the grid that dilation leaves.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, source.channels, H, W)

    Args:
        source: the incoming map.
        variant: what smooths: `group_interaction` mixes the groups that dilation takes a map apart into, after the
            convolution; `separable_shared` filters every channel alike, before it.
        rate: dilation of both convolutions. [px]

    Source:
        Wang & Ji, Smoothed Dilated Convolutions for Improved Dense Prediction, KDD 2018. arXiv:1808.08931

    Deviations:
        The authors replace the dilated convolutions of a whole backbone; here they form one residual block of their
        own. Both smoothings begin as the identity, as the authors' do.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        variant: Literal["group_interaction", "separable_shared"] = "group_interaction",
        rate: Annotated[int, Range(1, 16)] = 2,
    ) -> None:
        super().__init__()
        smoothed = GroupInteraction if variant == "group_interaction" else SeparableShared
        width = source.channels
        first = nn.Sequential(smoothed(width, width, rate), BatchNorm(width), relu())
        self.pair = nn.Sequential(first, smoothed(width, width, rate), BatchNorm(width))
        self.act = relu()
        self.out = source

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(x + self.pair(x))
        return activated
