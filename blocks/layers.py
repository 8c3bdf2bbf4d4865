"""The few primitives that blocks share."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

relu: Callable[[], nn.Module] = partial(nn.ReLU, inplace=True)
leaky: Callable[[], nn.Module] = partial(nn.LeakyReLU, 0.01, inplace=True)
prelu: Callable[[], nn.Module] = nn.PReLU


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that also trains where a channel has a single value: it then uses the running statistics.

    A 1x1 map at batch 1 (global pooling, a small last batch) has no variance, and torch refuses to train on it. Weight
    and bias still learn there; the running statistics wait for a step that has some.

    Shape:
        input:  (N, C, H, W)
        output: (N, C, H, W)
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class AtrousConv(nn.Conv2d):
    """A dilated convolution that keeps height and width and trains without the taps that only ever meet padding.

    A tap that lies further from the middle than the map is long meets nothing but zeros, wherever the kernel stands:
    at rate 24 on a map of 16x20, a 3x3 kernel does the work of a 1x1 one (Chen et al., "Rethinking Atrous Convolution
    for Semantic Image Segmentation", section 3.3). The result and the gradients are those of `nn.Conv2d`. Evaluation
    keeps all taps: costs are counted there, as published ones are, and exported graphs take images of other sizes.

    Shape:
        input:  (N, inputs, H, W)
        output: (N, outputs, H, W)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
        kernel: odd side of the kernel. [px]
        dilation: distance between the kernel's taps. [px]
        groups: how many parts the channels are convolved in. [count]
        bias: add one number to each channel.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, dilation: int, groups: int = 1, bias: bool = True
    ) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(inputs, outputs, kernel, padding=padding, dilation=dilation, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return super().forward(x)
        rate, rows, columns = self.dilation[0], *self._met(x)
        middle = self.kernel_size[0] // 2
        taps = self.weight[:, :, middle - rows : middle + rows + 1, middle - columns : middle + columns + 1]
        if rows == columns == 0 and self.groups == self.in_channels == self.out_channels and self.bias is None:
            return x * taps.reshape(1, -1, 1, 1).to(x.dtype)
        if x.device.type == "cpu" and self.groups > 1 and rate > 4:
            # There torch is 2 to 3 times as fast with such kernels where a map's channels lie one after another.
            x, taps = x.contiguous(), taps.reshape(-1).view(taps.shape)
        return F.conv2d(x, taps, self.bias, 1, (rows * rate, columns * rate), rate, self.groups)

    def _met(self, x: Tensor) -> tuple[int, int]:
        """How far from the middle the taps are that meet the map, up or down and left or right. [count]"""
        middle, rate = self.kernel_size[0] // 2, self.dilation[0]
        if not self.training:
            return middle, middle
        return min(middle, (x.shape[-2] - 1) // rate), min(middle, (x.shape[-1] - 1) // rate)


def conv_norm_act(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
    act: Callable[[], nn.Module] | None = relu,
) -> nn.Sequential:
    """Convolution, batch normalisation, activation; stride 1 keeps height and width.

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
        kernel: odd side of the kernel. [px]
        stride: step of the kernel. [px]
        dilation: distance between the kernel's taps. [px]
        groups: how many parts the channels are convolved in. [count]
        bias: give the convolution a bias, which the normalisation undoes but published sizes count.
        act: makes the activation, or None for none.
    """
    conv: nn.Conv2d
    if dilation > 1 and stride == 1:
        conv = AtrousConv(inputs, outputs, kernel, dilation=dilation, groups=groups, bias=bias)
    else:
        padding = dilation * (kernel // 2)
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=bias)
    return nn.Sequential(conv, BatchNorm(outputs), *([act()] if act else []))


def group_norm(channels: int, groups: int = 32) -> nn.GroupNorm:
    """Group normalisation, in fewer groups where so many do not divide the channels into two or more each."""
    shared = math.gcd(channels, groups)
    # A group of one channel would lose all that a map of one cell holds.
    return nn.GroupNorm(shared // 2 if shared == channels > 1 else shared, channels)


def separable_conv(inputs: int, outputs: int, kernel: int = 3, *, dilation: int = 1) -> nn.Sequential:
    """A depthwise and a pointwise convolution, each with normalisation and activation (the form of DeepLabV3+)."""
    depthwise = conv_norm_act(inputs, inputs, kernel, dilation=dilation, groups=inputs)
    return nn.Sequential(depthwise, conv_norm_act(inputs, outputs))


class Flanked(nn.Module):
    """A block between two 3x3 convolutions, its result fused with the map that came in by a third.

    Shape:
        input:  (N, inputs, H, W)
        output: (N, channels, H, W)

    Args:
        inputs: channels that come in. [count]
        channels: of the block and of what goes out. [count]
        block: what maps `channels` to `channels`.
    """

    def __init__(self, inputs: int, channels: int, block: nn.Module) -> None:
        super().__init__()
        self.before = conv_norm_act(inputs, channels, 3)
        self.block = block
        self.after = conv_norm_act(channels, channels, 3)
        self.fuse = conv_norm_act(inputs + channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        found = self.after(self.block(self.before(x)))
        fused: Tensor = self.fuse(torch.cat((x, found), dim=1))
        return fused


def resize(x: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Resize a map to height and width bilinearly; a map of that size is returned as it is."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


def size_of(x: Tensor) -> tuple[int, int]:
    """Height and width of a map. [px]"""
    return x.shape[-2], x.shape[-1]


def full_precision(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Leave autocast, where sums run over all pixels: float16 overflows, and bfloat16 cannot tell them apart."""
    return contextlib.nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)
