"""BiSeNet's fusion: a context path refines the deepest levels, and its end is fused with the finest one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from blocks.aligns.top_down import Resize, deepest, resizing
from blocks.contexts.aspp import ImagePooling
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, relu, size_of
from blocks.options import Range, When

Variant = Literal["authors", "mmseg"]


class FeatureFusion(nn.Module):
    """Concatenate two maps, fuse them, and add what a gate of their mean lets through once more.

    Shape:
        spatial, context: (N, C_i, H, W), C_0 + C_1 = inputs, any H, W >= 1
        output:           (N, outputs, H, W)

    Args:
        inputs: channels of both together. [count]
        outputs: channels that go out. [count]
        reduction: of the channels inside the authors' gate.
        variant: the gate is two plain 1x1 convolutions (`authors`), or one with normalisation and a ReLU before the
            sigmoid (`mmseg`), so that it never falls below a half.
    """

    def __init__(self, inputs: int, outputs: int, *, reduction: int = 1, variant: Variant = "authors") -> None:
        super().__init__()
        self.fuse = conv_norm_act(inputs, outputs)
        if variant == "authors":
            hidden = max(1, outputs // reduction)
            squeeze, excite = nn.Conv2d(outputs, hidden, 1, bias=False), nn.Conv2d(hidden, outputs, 1, bias=False)
            self.gate = nn.Sequential(squeeze, relu(), excite, nn.Sigmoid())
        else:
            self.gate = nn.Sequential(conv_norm_act(outputs, outputs), nn.Sigmoid())

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        x = self.fuse(torch.cat([spatial, context], dim=1))
        gated: Tensor = x * (1 + self.gate(x.mean(dim=(2, 3), keepdim=True)))
        return gated


class AttentionRefinement(nn.Module):
    """Convolve a map and weigh its channels by a gate of their means.

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
        self.gate = nn.Sequential(conv_norm_act(outputs, outputs, act=None), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        weighed: Tensor = x * self.gate(x.mean(dim=(2, 3), keepdim=True))
        return weighed


class ContextPath(nn.Module):
    """Add refined levels up from the mean of the deepest one on, each sum resized to the next finer level.

    Shape:
        levels: (N, inputs[i], H_i, W_i), deep to fine; one more of any channels, whose size alone counts
        output: (N, width, H_{i + 1}, W_{i + 1}) for each of `inputs`

    Args:
        inputs: channels of each refined level, deep to fine. [count]
        width: channels of the path. [count]
        to_size: resizes a map.
    """

    def __init__(self, inputs: Sequence[int], width: int, *, to_size: Resize) -> None:
        super().__init__()
        self.to_size = to_size
        self.pooling = ImagePooling(inputs[0], width)
        self.refinements = nn.ModuleList(AttentionRefinement(channels, width) for channels in inputs)
        self.smooth = nn.ModuleList(conv_norm_act(width, width, 3) for _ in inputs)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        x, path = self.pooling(levels[0]), []
        for level, finer, refine, smooth in zip(levels, levels[1:], self.refinements, self.smooth, strict=False):
            x = smooth(self.to_size(refine(level) + x, size_of(finer)))
            path.append(x)
        return path


class SpatialContextFusion(nn.Module):
    """Fuse the finest level, a spatial path, with a context path over the deepest ones.

    With `refined` 0 the deepest level itself is the context, as encoders want it that have a context path of their own.
    Else the path runs through the `refined` deepest levels up to the size of the next finer one, and never uses the
    finest level but where it is the only one.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, H_0, W_0)
        taps:    ffm_0, ffm_1 ...: the context path, from its deep end on, for losses

    Args:
        source: what the pyramid holds.
        channels: channels of the map. [count]
        refined: how many of the deepest levels the context path takes; fewer where there are fewer. [count]
        width: channels of the context path. [count]
        upsampling: how the context path is resized: bilinearly (authors) or by nearest pixels (STDC, mmsegmentation).
        variant: whose gate: two plain 1x1 convolutions (`authors`), or one with normalisation and ReLU (`mmseg`).
        reduction: of the channels inside the authors' gate; STDC's is 4.

    Source:
        Yu et al., BiSeNet, ECCV 2018, sec. 3.2. arXiv:1808.00897
        Fan et al., Rethinking BiSeNet For Real-time Semantic Segmentation, CVPR 2021, sec. 3.2. arXiv:2104.13188

    Deviations:
        Auxiliary classifiers on the context path belong to losses, which find it in the taps. Global pooling and gates
        train at batch 1, where the published normalisation fails: it then uses its running statistics.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 256,
        refined: Annotated[int, Range(0, 5)] = 2,
        width: Annotated[int, Range(8, 2048), When("refined", 1, 2, 3, 4, 5)] = 128,
        upsampling: Literal["bilinear", "nearest"] = "bilinear",
        variant: Variant = "authors",
        reduction: Annotated[int, Range(1, 64), When("variant", "authors")] = 1,
    ) -> None:
        super().__init__()
        self.to_size = resizing(upsampling, source.align_corners)
        self.refined = min(refined, max(1, len(source.pyramid) - 1))
        finest, context = source.pyramid[0], source.pyramid[-1].channels
        self.path: ContextPath | None = None
        taps = dict(source.taps)
        if self.refined:
            context = width
            levels = deepest(source.pyramid, self.refined + 1)
            self.path = ContextPath([level.channels for level in levels[:-1]], width, to_size=self.to_size)
            taps |= {f"ffm_{place}": FeatureMap(width, level.stride) for place, level in enumerate(levels[1:])}
        self.fusion = FeatureFusion(finest.channels + context, channels, reduction=reduction, variant=variant)
        self.out = source._replace(map=FeatureMap(channels, finest.stride), taps=taps)

    def forward(self, f: Features) -> Features:
        path = self.path(deepest(f.pyramid, self.refined + 1)) if self.path else [f.pyramid[-1]]
        context = self.to_size(path[-1], size_of(f.pyramid[0]))
        taps = {f"ffm_{place}": x for place, x in enumerate(path)} if self.path else {}
        return f._replace(map=self.fusion(f.pyramid[0], context), taps={**f.taps, **taps})
