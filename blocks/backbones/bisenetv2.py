"""BiSeNetV2: a wide, shallow branch for detail beside a narrow, deep one for semantics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.backbones.initialise import initialise
from blocks.backbones.normalise import Normalise
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import BatchNorm, conv_norm_act, relu
from blocks.options import Range

DETAIL = (64, 64, 128)  # at strides 2, 4, 8
SEMANTIC = (16, 32, 64, 128)  # at strides 4, 8, 16, 32


class DetailBranch(nn.Sequential):
    """Eight 3x3 convolutions in three stages, each opening with stride 2.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, widths[-1], ~H / 8, ~W / 8)

    Args:
        inputs: channels of the image. [count]
        widths: channels of the stages. [count]
    """

    def __init__(self, inputs: int, widths: Sequence[int] = DETAIL) -> None:
        layers = []
        for width, depth in zip(widths, (2, 3, 3), strict=True):
            for place in range(depth):
                layers.append(conv_norm_act(inputs, width, 3, stride=1 if place else 2))
                inputs = width
        super().__init__(*layers)


class Stem(nn.Module):
    """A strided convolution, then two ways to halve the map once more: convolutions and a maximum.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, ~H / 4, ~W / 4)

    Args:
        inputs: channels of the image. [count]
        outputs: channels that go out. [count]
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = max(1, outputs // 2)
        self.first = conv_norm_act(inputs, outputs, 3, stride=2)
        self.convolve = nn.Sequential(conv_norm_act(outputs, half), conv_norm_act(half, outputs, 3, stride=2))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.fuse = conv_norm_act(2 * outputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        fused: Tensor = self.fuse(torch.cat([self.convolve(x), self.pool(x)], dim=1))
        return fused


class GatherExpansion(nn.Module):
    """Gather with a 3x3 convolution, expand depthwise, project, and add the shortcut.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, ceil(H / stride), ceil(W / stride))

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out; with stride 1, as many as come in. [count]
        stride: 1 or 2; with 2 there are two depthwise convolutions, and the shortcut is convolved as well. [px]
        expansion: channels inside over channels that come in. [ratio]
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, expansion: int = 6) -> None:
        super().__init__()
        hidden = expansion * inputs
        self.gather = conv_norm_act(inputs, inputs, 3)
        self.expand = conv_norm_act(inputs, hidden, 3, stride=stride, groups=inputs, act=None if stride == 2 else relu)
        self.again = conv_norm_act(hidden, hidden, 3, groups=hidden) if stride == 2 else nn.Identity()
        norm = BatchNorm(outputs)
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), norm)
        nn.init.zeros_(norm.weight)  # at first, a layer is its shortcut
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            depthwise = conv_norm_act(inputs, inputs, 3, stride=2, groups=inputs, act=None)
            self.shortcut = nn.Sequential(depthwise, conv_norm_act(inputs, outputs, act=None))

    def forward(self, x: Tensor) -> Tensor:
        projected = self.project(self.again(self.expand(self.gather(x))))
        return F.relu(projected + self.shortcut(x), inplace=True)


class ContextEmbedding(nn.Module):
    """Add the normalised and convolved mean of a map to every pixel, then convolve.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = BatchNorm(channels)
        self.embed = conv_norm_act(channels, channels)
        self.last = conv_norm_act(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.embed(self.norm(x.mean(dim=(2, 3), keepdim=True)))
        out: Tensor = self.last(x + mean)
        return out


class SemanticBranch(nn.Module):
    """A stem, three stages of gather-and-expansion layers, and context embedding.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, widths[i], ~H / stride, ~W / stride) at strides 4, 8, 16, 32, and at stride 32 with context embedded

    Args:
        inputs: channels of the image. [count]
        widths: channels of stem and stages. [count]
        expansion: channels inside a layer over channels that come in. [ratio]
    """

    def __init__(self, inputs: int, widths: Sequence[int] = SEMANTIC, *, expansion: int = 6) -> None:
        super().__init__()
        self.stages = nn.ModuleList([Stem(inputs, widths[0])])
        for before, after, depth in zip(widths[:-1], widths[1:], (2, 2, 4), strict=True):
            layers = [GatherExpansion(before, after, stride=2, expansion=expansion)]
            layers += [GatherExpansion(after, after, expansion=expansion) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*layers))
        self.stages.append(ContextEmbedding(widths[-1]))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


class Bilateral(nn.Module):
    """Two branches that meet only behind the encoder: detail at stride 8, semantics down to stride 32.

    Shape:
        input:  image (N, image_channels, H, W), values in [0, 1]
        output: pyramid of the detail (128 channels at stride 8) and the semantics (32, 64 and 128 channels at strides
            8, 16 and 32, the last with context embedded), of `width` 1
        taps:   `semantic_4` to `semantic_32`, the stages of the semantic branch, which booster heads supervise

    Args:
        source: what the network knows about the image.
        width: scales all channels; 2 is about that of BiSeNetV2-Large. [ratio]
        expansion: channels inside a gather-and-expansion layer over channels that come in. [ratio]

    Source:
        Yu et al., BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time Semantic Segmentation, IJCV 2021,
        sec. 4.1 and 4.2. arXiv:2004.02147

    Deviations:
        No public code of the authors: two re-implementations, which agree, are followed. Against the paper both put a
        ReLU behind the last depthwise convolution of a layer, and normalisation and ReLU behind that of context
        embedding. No pretrained weights; booster heads are left to losses; guided aggregation is the align `bga`. The
        mean of context embedding trains at batch 1, where plain normalisation fails.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        width: Annotated[float, Range(0.25, 4.0)] = 1.0,
        expansion: Annotated[int, Range(1, 12)] = 6,
    ) -> None:
        super().__init__()
        detail, semantic = ([max(1, round(width * count)) for count in counts] for counts in (DETAIL, SEMANTIC))
        self.normalise = Normalise(source.image_channels)
        self.detail = DetailBranch(source.image_channels, detail)
        self.semantic = SemanticBranch(source.image_channels, semantic, expansion=expansion)
        initialise(self)
        stages = [FeatureMap(count, 4 << place) for place, count in enumerate(semantic)]
        taps = {f"semantic_{stage.stride}": stage for stage in stages}
        self.out = source._replace(pyramid=(FeatureMap(detail[-1], 8), *stages[1:]), taps={**source.taps, **taps})

    def forward(self, f: Features) -> Features:
        image = self.normalise(f.image)
        *stages, embedded = self.semantic(image)
        taps = {f"semantic_{4 << place}": stage for place, stage in enumerate(stages)}
        return f._replace(pyramid=(self.detail(image), *stages[1:3], embedded), taps={**f.taps, **taps})
