"""Atrous spatial pyramid pooling (DeepLabV3, and DeepLabV3+ where it is depthwise-separable)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from blocks.features import FeatureMap
from blocks.layers import conv_norm_act, relu, separable_conv
from blocks.options import Range


class ImagePooling(nn.Module):
    """The mean of the whole map, convolved, at every pixel.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, H, W)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
        bias: give the convolution a bias.
        act: makes the activation.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False, act: Callable[[], nn.Module] = relu) -> None:
        super().__init__()
        self.conv = conv_norm_act(inputs, outputs, bias=bias, act=act)

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = self.conv(x.mean(dim=(2, 3), keepdim=True))
        # Resizing a single cell bilinearly is the same as repeating it.
        return mean.expand(-1, -1, *x.shape[2:])


class AtrousPyramid(nn.Module):
    """Look at a map through convolutions of several dilations and through its mean, then fuse.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        channels: channels of each branch and of the fused map. [count]
        rates: dilations of the 3x3 branches, beside a 1x1 branch: 6, 12, 18 at output stride 16, twice that at 8. [px]
        separable: depthwise and pointwise 3x3 branches (DeepLabV3+).
        image_pooling: a branch that sees the mean of the whole map.
        fuse_kernel: side of the fusing convolution: 1 (paper, torchvision: pooling comes last in the concatenation)
            or 3 (mmsegmentation: pooling comes first). [px]
        dropout: after the fusion; torchvision's is 0.5, mmsegmentation leaves it to the head. [probability]

    Source:
        Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, 2017, sec. 3.3. arXiv:1706.05587
        Chen et al., Encoder-Decoder with Atrous Separable Convolution, ECCV 2018, sec. 3.1. arXiv:1802.02611

    Deviations:
        Image pooling trains at batch 1, where the published normalisation fails: it then uses its running statistics.
        What DeepLabV3 (a 3x3 convolution) and DeepLabV3+ (low-level features) put behind it belongs to align and head.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        channels: Annotated[int, Range(8, 2048)] = 256,
        rates: Annotated[tuple[int, ...], Range(1, 96)] = (6, 12, 18),
        separable: bool = False,
        image_pooling: bool = True,
        fuse_kernel: Literal[1, 3] = 1,
        dropout: Annotated[float, Range(0.0, 0.9)] = 0.5,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_norm_act(source.channels, channels)])
        for rate in rates:
            branch = separable_conv if separable else conv_norm_act
            self.branches.append(branch(source.channels, channels, 3, dilation=rate))
        if image_pooling:
            last = len(self.branches)
            self.branches.insert(0 if fuse_kernel == 3 else last, ImagePooling(source.channels, channels))
        self.fuse = conv_norm_act(len(self.branches) * channels, channels, fuse_kernel)
        self.dropout = nn.Dropout(dropout)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.dropout(self.fuse(torch.cat([branch(x) for branch in self.branches], dim=1)))
        return fused
