"""DFANet: one light encoder three times over, each time starting from what the one before found."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from blocks.backbones.initialise import initialise
from blocks.backbones.normalise import Normalise
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, relu, resize, size_of

Variant = Literal["paper", "huaifeng1993"]

STEM = 8
WIDTHS = (48, 96, 192)  # of the stages of a branch, each of half the resolution
DEPTHS: dict[Variant, tuple[int, int, int]] = {"paper": (4, 6, 4), "huaifeng1993": (3, 6, 3)}
BRANCHES = 3
IMAGENET = 1000


class XceptionBlock(nn.Module):
    """Three separable convolutions, the first two a quarter as wide, beside a shortcut.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, ceil(H / stride), ceil(W / stride))

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out, a multiple of 4. [count]
        stride: 1 or 2. [px]
        variant: `paper` puts a ReLU before each convolution, normalises both parts of it, strides in the last and
            convolves the shortcut where stride or width change; `huaifeng1993` has normalisation and ReLU behind each,
            biases, the stride in the first, and convolves every shortcut.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, variant: Variant = "paper") -> None:
        super().__init__()
        quarter = outputs // 4
        if variant == "paper":
            self.body = nn.Sequential(
                _activated_first(inputs, quarter),
                _activated_first(quarter, quarter),
                _activated_first(quarter, outputs, stride),
            )
            same = stride == 1 and inputs == outputs
            self.shortcut: nn.Module = (
                nn.Identity() if same else conv_norm_act(inputs, outputs, stride=stride, act=None)
            )
        else:
            self.body = nn.Sequential(
                _activated_last(inputs, quarter, stride),
                _activated_last(quarter, quarter),
                _activated_last(quarter, outputs),
            )
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + self.shortcut(x)
        return out


def _activated_first(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    depthwise = conv_norm_act(inputs, inputs, 3, stride=stride, groups=inputs, act=None)
    # Not in place: the shortcut reads the same map.
    return nn.Sequential(nn.ReLU(), *depthwise, *conv_norm_act(inputs, outputs, act=None))


def _activated_last(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs)
    return nn.Sequential(depthwise, *conv_norm_act(inputs, outputs, bias=True))


class ClassAttention(nn.Module):
    """Weigh channels by what the mean of the map says of the classes of ImageNet.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        variant: the weights of `paper` are normalised and rectified; those of `huaifeng1993` come from a sigmoid, and
            the ReLU is between the two layers, neither of which has a bias.
    """

    def __init__(self, channels: int, *, variant: Variant = "paper") -> None:
        super().__init__()
        if variant == "paper":
            self.weigh = nn.Sequential(nn.Conv2d(channels, IMAGENET, 1), *conv_norm_act(IMAGENET, channels))
        else:
            squeeze, excite = nn.Conv2d(channels, IMAGENET, 1, bias=False), nn.Conv2d(IMAGENET, channels, 1, bias=False)
            self.weigh = nn.Sequential(squeeze, relu(), excite, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        weighed: Tensor = x * self.weigh(x.mean(dim=(2, 3), keepdim=True))
        return weighed


class Branch(nn.Module):
    """Three stages of blocks, each opening with stride 2, and attention.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        beside: (N, WIDTHS[i], ~H / 2^(i + 2), ~W / 2^(i + 2)) for i from 0 to 1: what the branch before had there
        output: (N, WIDTHS[i], ~H / 2^(i + 1), ~W / 2^(i + 1)) for i from 0 to 2, and the last one once more, weighed

    Args:
        inputs: channels that come in. [count]
        beside: whether the second and third stage also read a branch before this one.
        variant: whose blocks and attention.
    """

    def __init__(self, inputs: int, *, beside: bool, variant: Variant = "paper") -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for width, depth, read in zip(WIDTHS, DEPTHS[variant], (0, *WIDTHS[1:]), strict=True):
            blocks = [XceptionBlock(inputs + (read if beside else 0), width, stride=2, variant=variant)]
            blocks += [XceptionBlock(width, width, variant=variant) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*blocks))
            inputs = width
        self.attention = ClassAttention(inputs, variant=variant)

    def forward(self, x: Tensor, beside: tuple[Tensor, ...] = ()) -> tuple[Tensor, ...]:
        maps = []
        for place, stage in enumerate(self.stages):
            x = stage(torch.cat([x, beside[place - 1]], dim=1) if place and beside else x)
            maps.append(x)
        return (*maps, self.attention(x))


class Aggregation(nn.Module):
    """A strided convolution and three branches, the later ones at ever lower resolution.

    A branch starts from the first map of the one before beside its weighed last map, enlarged; its later stages read
    those of the branch before that have their size.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: of each branch the first map, at strides 4, 8 and 16; of each the weighed last, at strides 16, 32 and 64

    Args:
        inputs: channels of the image. [count]
        variant: whose blocks and attention.
        align_corners: how maps are enlarged.
    """

    def __init__(self, inputs: int, *, variant: Variant = "paper", align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.stem = conv_norm_act(inputs, STEM, 3, stride=2)
        self.branches = nn.ModuleList(
            Branch(WIDTHS[0] + WIDTHS[-1] if place else STEM, beside=place > 0, variant=variant)
            for place in range(BRANCHES)
        )
        initialise(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = self.branches[0](self.stem(x))
        fine, deep = [maps[0]], [maps[-1]]
        for branch in self.branches[1:]:
            first, *beside, weighed = maps
            enlarged = resize(weighed, size_of(first), self.align_corners)
            maps = branch(torch.cat([first, enlarged], dim=1), tuple(beside))
            fine.append(maps[0])
            deep.append(maps[-1])
        return (*fine, *deep)


class Dfanet(nn.Module):
    """Run a small Xception three times in a row, each time on a coarser map that already knows the classes.

    Shape:
        input:  image (N, image_channels, H, W), values in [0, 1]
        output: pyramid of six maps: what each of the branches begins with, 48 channels at strides 4, 8 and 16, and what
            each ends with, 192 channels at strides 16, 32 and 64

    Args:
        source: what the network knows about the image.
        variant: `paper`, with 4, 6 and 4 blocks to the stages of a branch; or `huaifeng1993`, a widely used
            re-implementation with 3, 6 and 3, whose blocks and attention are arranged differently.

    Source:
        Li et al., DFANet: Deep Feature Aggregation for Real-Time Semantic Segmentation, CVPR 2019, sec. 3.
        arXiv:1904.02216

    Deviations:
        Unverified: no code of the authors is public. `paper` has the depths and widths of their Xception A; the order
        of layers inside a block, and normalisation and ReLU behind the attention, are those on which several
        re-implementations agree, and they make the printed 3.4 GFLOPs at 1024x1024. The network decides how corners are
        aligned. No pretrained weights, not even for the layer of 1000 classes. The decoder is the align `dfa`.
    """

    version: ClassVar[int] = 1

    def __init__(self, source: Shapes, *, variant: Variant = "paper") -> None:
        super().__init__()
        self.normalise = Normalise(source.image_channels)
        self.network = Aggregation(source.image_channels, variant=variant, align_corners=source.align_corners)
        fine = [FeatureMap(WIDTHS[0], 4 << place) for place in range(BRANCHES)]
        deep = [FeatureMap(WIDTHS[-1], 16 << place) for place in range(BRANCHES)]
        self.out = source._replace(pyramid=(*fine, *deep))

    def forward(self, f: Features) -> Features:
        return f._replace(pyramid=self.network(self.normalise(f.image)))
