"""DF1 and DF2: residual networks whose depths and widths a search for speed found."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from blocks.backbones.initialise import initialise
from blocks.backbones.normalise import Normalise
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act
from blocks.options import Range

# For each of the strides 8, 16 and 32: the channels of its residual blocks, one after the other.
DF1 = ((64,) * 3, (128,) * 3, (256,) * 3 + (512,))
DF2 = ((64,) * 2 + (128,), (128,) * 10 + (256,), (256,) * 4 + (512,) * 2)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is convolved where stride or width change.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, ceil(H / stride), ceil(W / stride))

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
        stride: 1 or 2. [px]
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        last = conv_norm_act(outputs, outputs, 3, act=None)
        self.body = nn.Sequential(conv_norm_act(inputs, outputs, 3, stride=stride), last)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = conv_norm_act(inputs, outputs, stride=stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x), inplace=True)


class ResidualStages(nn.Module):
    """Two strided convolutions and three stages of residual blocks, each opening with stride 2.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, channels, ~H / stride, ~W / stride) at strides 4, 8, 16 and 32

    Args:
        inputs: channels of the image. [count]
        stages: channels of each block of each stage. [count]
    """

    def __init__(self, inputs: int, stages: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        stem = [conv_norm_act(inputs, 32, 3, stride=2), conv_norm_act(32, 64, 3, stride=2)]
        self.stages = nn.ModuleList([nn.Sequential(*stem)])
        before, self.widths = 64, [64]
        for stage in stages:
            blocks = []
            for place, after in enumerate(stage):
                blocks.append(ResidualBlock(before, after, stride=1 if place else 2))
                before = after
            self.stages.append(nn.Sequential(*blocks))
            self.widths.append(before)
        initialise(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)

    def pyramid(self, levels: int) -> tuple[FeatureMap, ...]:
        """Declare the deepest maps."""
        return tuple(FeatureMap(width, 4 << place) for place, width in enumerate(self.widths))[-levels:]


class Df1(nn.Module):
    """DF1 of Partial Order Pruning: ten residual blocks, narrow for long.

    Shape:
        input:  image (N, image_channels, H, W), values in [0, 1]
        output: pyramid of the deepest `levels` of 4: 64, 64, 128 and 512 channels at strides 4, 8, 16 and 32

    Args:
        source: what the network knows about the image.
        levels: how many of the deepest maps to hand on. [count]

    Source:
        Li et al., Partial Order Pruning: for Best Speed/Accuracy Trade-off in Neural Architecture Search, CVPR 2019,
        sec. 4. arXiv:1903.03777; layers from the authors' network definition, df1.prototxt

    Deviations:
        No pretrained weights. The image is normalised as by the other encoders, and normalisation adds 1e-5 to the
        variance, where the authors' adds 1e-4. The decoder that the authors searched for is not part of it.
    """

    version: ClassVar[int] = 1

    def __init__(self, source: Shapes, *, levels: Annotated[int, Range(1, 4)] = 4) -> None:
        super().__init__()
        self.levels = levels
        self.normalise = Normalise(source.image_channels)
        self.network = ResidualStages(source.image_channels, DF1)
        self.out = source._replace(pyramid=self.network.pyramid(levels))

    def forward(self, f: Features) -> Features:
        return f._replace(pyramid=self.network(self.normalise(f.image))[-self.levels :])


class Df2(nn.Module):
    """DF2 of Partial Order Pruning: twenty residual blocks, half of them at stride 16.

    Shape:
        input:  image (N, image_channels, H, W), values in [0, 1]
        output: pyramid of the deepest `levels` of 4: 64, 128, 256 and 512 channels at strides 4, 8, 16 and 32

    Args:
        source: what the network knows about the image.
        levels: how many of the deepest maps to hand on. [count]

    Source:
        Li et al., Partial Order Pruning: for Best Speed/Accuracy Trade-off in Neural Architecture Search, CVPR 2019,
        sec. 4. arXiv:1903.03777; layers from the authors' network definition, df2.prototxt

    Deviations:
        As those of `Df1`.
    """

    version: ClassVar[int] = 1

    def __init__(self, source: Shapes, *, levels: Annotated[int, Range(1, 4)] = 4) -> None:
        super().__init__()
        self.levels = levels
        self.normalise = Normalise(source.image_channels)
        self.network = ResidualStages(source.image_channels, DF2)
        self.out = source._replace(pyramid=self.network.pyramid(levels))

    def forward(self, f: Features) -> Features:
        return f._replace(pyramid=self.network(self.normalise(f.image))[-self.levels :])
