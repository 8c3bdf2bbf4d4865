"""BiSeNetV2's bilateral guided aggregation: detail and semantics gate each other at both resolutions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from torch import Tensor, nn

from blocks.aligns.top_down import resizing
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import BatchNorm, conv_norm_act, relu, resize, size_of
from blocks.options import Range

Variant = Literal["paper", "coincheung", "mmseg"]


class BilateralAggregation(nn.Module):
    """Gate each branch by the other at the resolution of each, and fuse the two products.

    Shape:
        detail:   (N, detail, H, W), any H, W >= 1
        semantic: (N, semantic, h, w), any h, w >= 1
        output:   (N, channels, H, W)

    Args:
        detail: channels of the detail branch. [count]
        semantic: channels of the semantic branch. [count]
        channels: width of all that follows. [count]
        ratio: how many times the stride of the detail branch the other one's is. [count]
        variant: `paper` resizes bilinearly and ends with normalisation; `coincheung` takes nearest pixels and ends with
            ReLU; `mmseg` resizes bilinearly, ends with ReLU and gives the pointwise convolutions a bias.
        align_corners: how maps are resized bilinearly.
    """

    def __init__(
        self,
        detail: int,
        semantic: int,
        channels: int,
        *,
        ratio: int = 4,
        variant: Variant = "paper",
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.to_size = resizing("nearest" if variant == "coincheung" else "bilinear", align_corners)
        bias = variant == "mmseg"
        self.detail_kept = _separable(detail, channels, bias=bias)
        self.detail_shrunk = nn.Sequential(
            conv_norm_act(detail, channels, 3, stride=min(2, ratio), act=None), _average(max(1, ratio // 2))
        )
        self.semantic_grown = conv_norm_act(semantic, channels, 3, act=None)
        self.semantic_kept = _separable(semantic, channels, bias=bias)
        self.fuse = conv_norm_act(channels, channels, 3, act=None if variant == "paper" else relu)

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        large, small = size_of(detail), size_of(semantic)
        fine = self.detail_kept(detail) * self.to_size(self.semantic_grown(semantic), large).sigmoid()
        shrunk = resize(self.detail_shrunk(detail), small, self.align_corners)
        coarse = shrunk * self.semantic_kept(semantic).sigmoid()
        fused: Tensor = self.fuse(fine + self.to_size(coarse, large))
        return fused


def _separable(inputs: int, outputs: int, *, bias: bool) -> nn.Sequential:
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
    return nn.Sequential(depthwise, BatchNorm(inputs), nn.Conv2d(inputs, outputs, 1, bias=bias))


def _average(stride: int) -> nn.Module:
    """Average over a little more than the step, 3 pixels for the published 2, so that neighbours overlap."""
    if stride == 1:
        return nn.Identity()
    kernel = stride + 1 - stride % 2
    return nn.AvgPool2d(kernel, stride, kernel // 2)


class BilateralGuidedAlign(nn.Module):
    """Let the finest level (detail) and the deepest one (semantics) gate each other; levels in between are not read.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, H_0, W_0)

    Args:
        source: what the pyramid holds; one level alone is detail and semantics at once.
        channels: width of the fusion and of the map. [count]
        variant: `paper`; `coincheung`, a widely used re-implementation that takes nearest pixels and ends with a ReLU;
            `mmseg`, which ends with it too and gives two convolutions a bias.

    Source:
        Yu et al., BiSeNet V2, IJCV 2021, sec. 4.3. arXiv:2004.02147

    Deviations:
        The authors published no code, and two re-implementations differ from the paper and from each other: see
        `variant`. The paper knows branches of stride 8 and 32 only: for others the detail is averaged over the ratio of
        the strides, and what is left over is resized.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 128,
        variant: Variant = "paper",
    ) -> None:
        super().__init__()
        detail, semantic = source.pyramid[0], source.pyramid[-1]
        self.aggregation = BilateralAggregation(
            detail.channels,
            semantic.channels,
            channels,
            ratio=max(1, semantic.stride // detail.stride),
            variant=variant,
            align_corners=source.align_corners,
        )
        self.out = source._replace(map=FeatureMap(channels, detail.stride))

    def forward(self, f: Features) -> Features:
        return f._replace(map=self.aggregation(f.pyramid[0], f.pyramid[-1]))
