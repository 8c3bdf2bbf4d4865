"""CGRSeg's spatial feature reconstruction: a top-down pyramid, calibrated by rectangles and weighed by the guide."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, ClassVar, TypeVar

from torch import Tensor, nn

from blocks.contexts.rcm_pyramid import CALIBRATED, Mixer, Odd, RectangularCalibration
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, resize, size_of
from blocks.options import Range, When

T = TypeVar("T")


class GuidedFusion(nn.Module):
    """Project a map, and weigh it by what a guide of lower resolution says of each channel and place.

    Shape:
        x:      (N, inputs, H, W), any H, W >= 1
        guide:  (N, guide, h, w), any h, w >= 1; left out where the module knows none
        output: (N, outputs, H, W)

    Args:
        inputs: channels of the map. [count]
        outputs: channels that go out. [count]
        guide: channels of the guide, or None for no guide and no weights. [count]
        align_corners: how the weights are resized.
    """

    def __init__(self, inputs: int, outputs: int, guide: int | None, *, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.local = conv_norm_act(inputs, outputs, act=None)
        self.weights = None if guide is None else conv_norm_act(guide, outputs, act=nn.Hardsigmoid)

    def forward(self, x: Tensor, guide: Tensor | None) -> Tensor:
        x = self.local(x)
        if self.weights is None or guide is None:
            return x
        return x * resize(self.weights(guide), size_of(x), self.align_corners)


class SpatialReconstruction(nn.Module):
    """Go down the pyramid: add the result from above to each level, calibrate the sum, weigh it by the guide.

    A level that no context wrote a guide for is projected and not weighed.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        guide:   (N, G_i, h_i, w_i) for the deepest levels, or none
        map:     (N, channels, H_j, W_j) of the finest level taken

    Args:
        source: what the pyramid and the guide hold.
        channels: of each level's result and of the map: 128 in CGRSeg-T, 256 in B and L. [count]
        levels: how many of the deepest levels take part; all where there are fewer. [count]
        mixer: what mixes the places in a calibration, as in the context rcm_pyramid; `none` does not calibrate.
        strip: length of the strip convolutions: 11 in CGRSeg-T and B, 9 in L. [px]
        mlp_ratio: hidden channels of a calibration over its channels. [ratio]
        fuse: end with a convolution of each channel by itself, normalisation and ReLU, as a classifier gets it from
            the authors; the head dpg does so itself.

    Source:
        Ni et al., Context-Guided Spatial Feature Reconstruction for Efficient Semantic Segmentation, ECCV 2024,
        sec. 3.2 and 3.3. arXiv:2405.06228

    Deviations:
        The authors always have a guide. *Unverified*: mixers other than `rca`, as in the context rcm_pyramid.
    """

    version: ClassVar[int] = 1
    guided: ClassVar[bool] = True

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 128,
        levels: Annotated[int, Range(1, 6)] = 3,
        mixer: Mixer = "rca",
        strip: Annotated[Odd, When("mixer", "rca")] = 11,
        mlp_ratio: Annotated[int, Range(1, 8), CALIBRATED] = 2,
        fuse: bool = False,
    ) -> None:
        super().__init__()
        taken = source.pyramid[-levels:]
        self.levels = len(taken)
        self.align_corners = source.align_corners
        guides = _of_levels([guide.channels for guide in source.guide], self.levels)
        self.fusions = nn.ModuleList(
            GuidedFusion(level.channels, channels, guide, align_corners=source.align_corners)
            for level, guide in zip(taken, guides, strict=True)
        )
        calibration = partial(RectangularCalibration, mixer=mixer, strip=strip, mlp_ratio=mlp_ratio)
        self.calibrations = nn.ModuleList(
            nn.Identity() if mixer == "none" else calibration(level.channels) for level in taken
        )
        self.descents = nn.ModuleList(nn.Conv2d(channels, level.channels, 1) for level in taken[:-1])
        self.fuse = conv_norm_act(channels, channels, groups=channels) if fuse else nn.Identity()
        self.out = source._replace(map=FeatureMap(channels, taken[0].stride))

    def forward(self, f: Features) -> Features:
        levels = f.pyramid[-self.levels :]
        guides = _of_levels(f.guide, self.levels)
        x: Tensor | None = None
        for place in reversed(range(self.levels)):
            local = levels[place]
            if x is not None:
                local = local + self.descents[place](resize(x, size_of(local), self.align_corners))
            x = self.fusions[place](self.calibrations[place](local), guides[place])
        return f._replace(map=self.fuse(x))


def _of_levels(guides: Sequence[T], levels: int) -> list[T | None]:
    """Say for each level, fine to coarse, which guide it has: the last guide belongs to the deepest level."""
    taken = list(guides)[-levels:]
    return [None] * (levels - len(taken)) + taken
