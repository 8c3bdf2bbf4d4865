"""CGRSeg's pyramid context: all levels pooled to one size, calibrated together, given back as a guide."""

from __future__ import annotations

from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.contexts.token_mixers import RIVALS
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import BatchNorm, relu, size_of
from blocks.options import Range, When

Odd = Literal[3, 5, 7, 9, 11, 13, 15, 17]
Mixer = Literal["rca", "self_attention", "conv_next", "inception_next", "coordinate", "gather_excite", "none"]
CALIBRATED = When("mixer", "rca", *RIVALS)


class RectangularAttention(nn.Module):
    """Weigh a map by what its rows and columns say of each rectangle (RCA).

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        strip: length of the two strip convolutions that shape the weights. [px]
        square: side of the depthwise convolution of the map itself. [px]
    """

    def __init__(self, channels: int, *, strip: int = 11, square: int = 3) -> None:
        super().__init__()
        half = strip // 2
        self.local = nn.Conv2d(channels, channels, square, padding=square // 2, groups=channels)
        self.shape = nn.Sequential(
            nn.Conv2d(channels, channels, (1, strip), padding=(0, half), groups=channels),
            BatchNorm(channels),
            relu(),
            nn.Conv2d(channels, channels, (strip, 1), padding=(half, 0), groups=channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        rectangles = x.mean(dim=3, keepdim=True) + x.mean(dim=2, keepdim=True)
        weighed: Tensor = self.shape(rectangles).sigmoid() * self.local(x)
        return weighed


class RectangularCalibration(nn.Module):
    """Add to a map what rectangular attention, or a rival, and a small network make of it, scaled by channel (RCM).

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        mixer: what mixes the places: `rca` or one of `RIVALS`.
        strip: length of rectangular attention's strip convolutions. [px]
        square: side of its depthwise convolution. [px]
        mlp_ratio: hidden channels over channels. [ratio]
        scale: what the scales start from; the published 1e-6 makes the module an identity at first.
    """

    def __init__(
        self,
        channels: int,
        *,
        mixer: Mixer = "rca",
        strip: int = 11,
        square: int = 3,
        mlp_ratio: int = 2,
        scale: float = 1e-6,
    ) -> None:
        super().__init__()
        rectangles = partial(RectangularAttention, strip=strip, square=square)
        self.mixer = (rectangles if mixer == "rca" else RIVALS[mixer])(channels)
        self.norm = BatchNorm(channels)
        hidden = mlp_ratio * channels
        self.mlp = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.GELU(), nn.Conv2d(hidden, channels, 1))
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.mlp(self.norm(self.mixer(x)))
        return x + self.scale.reshape(-1, 1, 1) * change


class PyramidContext(nn.Module):
    """Pool levels to one size, concatenate them, calibrate them together, and split them again.

    Shape:
        input:  (N, channels[i], H_i, W_i) for each level, fine to coarse
        output: (N, channels[i], ceil(H / stride), ceil(W / stride)) for each, with H and W of the last

    Args:
        channels: of each level. [count]
        stride: how much smaller than the last level they are pooled. [ratio]
        depth: calibrations in a row. [count]
        mixer: of the calibrations; `none` has a 1x1 convolution in their place.
        strip: length of the strip convolutions. [px]
        mlp_ratio: hidden channels over channels. [ratio]
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        *,
        stride: int = 2,
        depth: int = 5,
        mixer: Mixer = "rca",
        strip: int = 11,
        mlp_ratio: int = 2,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.stride = stride
        width = sum(channels)
        block = partial(RectangularCalibration, width, mixer=mixer, strip=strip, mlp_ratio=mlp_ratio)
        plain = mixer == "none"
        self.calibrate = nn.Conv2d(width, width, 1) if plain else nn.Sequential(*(block() for _ in range(depth)))

    def forward(self, *levels: Tensor) -> tuple[Tensor, ...]:
        height, width = (-(-side // self.stride) for side in size_of(levels[-1]))
        pooled = torch.cat([F.adaptive_avg_pool2d(x, (height, width)) for x in levels], dim=1)
        return self.calibrate(pooled).split(self.channels, dim=1)  # type: ignore[no-any-return]


class RectangularPyramid(nn.Module):
    """Pool the deepest levels together, calibrate them by rectangles, and hand them to the align as its guide.

    An align that reads no guide gets each level with its part of the guide added.

    Shape:
        input:  the pyramid, any sizes
        output: guide: (N, channels of the level, ceil(H / stride), ceil(W / stride)) for each of the deepest `levels`,
            with H and W of the deepest; the pyramid stays as it is

    Args:
        source: what reaches the context.
        levels: how many of the deepest levels take part; all where there are fewer. [count]
        depth: calibrations in a row: 5 in CGRSeg-T and L, 6 in B. [count]
        mixer: what mixes the places in a calibration: rectangular attention, or what the paper compares it with;
            `none` has no calibration but a 1x1 convolution over the pooled levels, the base of its ablation.
        strip: length of the strip convolutions: 11 in CGRSeg-T and B, 9 in L. [px]
        mlp_ratio: hidden channels of a calibration over its channels. [ratio]
        stride: how much smaller than the deepest level the pyramid is pooled. [ratio]

    Source:
        Ni et al., Context-Guided Spatial Feature Reconstruction for Efficient Semantic Segmentation, ECCV 2024,
        sec. 3.2 and 3.3. arXiv:2405.06228

    Deviations:
        None with `rca`. It stands before the align alone: on one map there is no pyramid to give back.
        *Unverified*: the other mixers, which the authors' code does not hold. They follow their own papers, and cost
        what `rca` does within 3 %: self-attention has queries and keys of an eighth of the channels, and does not
        project its result. Nor does it hold `none`, whose 1x1 convolution gives the cost that the paper prints.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        levels: Annotated[int, Range(1, 6)] = 3,
        depth: Annotated[int, Range(1, 12), CALIBRATED] = 5,
        mixer: Mixer = "rca",
        strip: Annotated[Odd, When("mixer", "rca")] = 11,
        mlp_ratio: Annotated[int, Range(1, 8), CALIBRATED] = 2,
        stride: Annotated[int, Range(1, 8)] = 2,
    ) -> None:
        super().__init__()
        taken = source.pyramid[-levels:]
        self.levels = len(taken)
        channels = tuple(level.channels for level in taken)
        self.context = PyramidContext(
            channels, stride=stride, depth=depth, mixer=mixer, strip=strip, mlp_ratio=mlp_ratio
        )
        guide = tuple(FeatureMap(count, stride * taken[-1].stride) for count in channels)
        self.out = source._replace(guide=guide)

    def forward(self, f: Features) -> Features:
        return f._replace(guide=self.context(*f.pyramid[-self.levels :]))
