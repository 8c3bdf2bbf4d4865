"""The way up of BiSeNet's context path, which STDC-Seg walks too."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.contexts.aspp import ImagePooling
from blocks.layers import conv_norm_act, resize, size_of


class AttentionRefinement(nn.Module):
    """Convolve a map and weigh its channels by a gate that its own mean decides.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, H, W)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv_norm_act(inputs, outputs, 3)
        self.gate = conv_norm_act(outputs, outputs, act=None)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.gate(x.mean(dim=(2, 3), keepdim=True)))


class ContextPath(nn.Module):
    """Bring levels to a finer one from the mean of the deepest upwards: refine each, add what came from below, resize.

    Shape:
        levels: (N, inputs[i], H_i, W_i), fine to coarse, any H_i, W_i >= 1
        output: (N, channels, H, W) for each level, fine to coarse, each at the size of the next finer level; the first
            at `size`

    Args:
        inputs: channels of the levels, fine to coarse. [count]
        channels: channels that go out. [count]
        align_corners: how maps are resized, or None to repeat the nearest pixel (STDC-Seg).
    """

    def __init__(self, inputs: Sequence[int], channels: int, *, align_corners: bool | None) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.mean = ImagePooling(inputs[-1], channels)
        self.refine = nn.ModuleList(AttentionRefinement(width, channels) for width in reversed(inputs))
        self.smooth = nn.ModuleList(conv_norm_act(channels, channels, 3) for _ in inputs)

    def forward(self, levels: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, ...]:
        sizes = [size, *(size_of(level) for level in levels[:-1])]
        below, found = self.mean(levels[-1]), []
        for level, wanted, refine, smooth in zip(
            reversed(levels), reversed(sizes), self.refine, self.smooth, strict=True
        ):
            below = smooth(self._resized(refine(level) + below, wanted))
            found.append(below)
        return tuple(reversed(found))

    def _resized(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if self.align_corners is None:
            return F.interpolate(x, size, mode="nearest")
        return resize(x, size, self.align_corners)
