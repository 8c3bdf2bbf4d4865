"""HyperSeg: a decoder whose weights are made for each image and each of its patches."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm
from typing import Annotated, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.attention import cropped
from blocks.errors import BlockError, law
from blocks.features import FeatureMap, Features, Shapes, aligned, current
from blocks.heads.patchwise import PatchDecoder, extended
from blocks.layers import BatchNorm, conv_norm_act, relu, size_of
from blocks.options import Range

_Value = TypeVar("_Value")


class NestedUNet(nn.Module):
    """See a map at several resolutions and as a whole: the signal that weights are made from.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W), half of them of the map, half of what was seen below it

    Args:
        channels: an even number. [count]
        levels: how many resolutions, each half the one before. [count]
    """

    def __init__(self, channels: int, *, levels: int = 2) -> None:
        super().__init__()
        half = channels // 2
        self.down = nn.ModuleList(_halved(half) for _ in range(levels - 1))
        self.up = nn.ModuleList(conv_norm_act(channels, half) for _ in range(levels - 1))
        self.narrow = conv_norm_act(channels, half)

    def forward(self, x: Tensor) -> Tensor:
        size, step = size_of(x), 2 ** len(self.down)
        maps = [self.narrow(extended(x, (step, step)))]
        for down in self.down:
            maps.append(down(maps[-1]))
        seen = maps[-1].mean(dim=(2, 3), keepdim=True).expand_as(maps[-1])
        for up in self.up[::-1]:
            seen = F.interpolate(up(torch.cat((maps.pop(), seen), dim=1)), scale_factor=2.0, mode="nearest")
        return cropped(torch.cat((maps.pop(), seen), dim=1), size)


def _halved(channels: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, 2, stride=2, bias=False)
    return nn.Sequential(conv, BatchNorm(channels), relu())


class HyperSeg(nn.Module):
    """Make the weights of a small decoder from the deepest level, anew for each of its cells, and decode with them.

    Options of levels go from coarse to fine, and the last of them serves all finer levels.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, C, H, W), in place of the deepest level of its stride, else of the finest level
        logits:  (N, classes, height and width of the finest level, or of the image where that is read too)

    Args:
        source: what pyramid and map hold.
        channels: what each level but the finest finds. [count]
        shares: how much of a level's channels the decoder reads; they are reduced to it, but for 1. [share]
        kernels: 1, a convolution with activation, or 3, an inverted residual. [px]
        groups: of the convolutions that make the weights. [count]
        expansion: of the inverted residuals. [times their inputs]
        signal: channels that the weights of all levels are made from. [count]
        depth: resolutions of the U-Net that makes the signal. [count]
        slices: `own`, each level's weights are made from channels of the signal that no other level reads; `first`,
            from as many, but always from the first on.
        image: read the image too, as the finest level.
        dropout: of single values of what the signal is made from. [probability]

    Raises:
        BlockError: no align has set a map, or the signal cannot be shared among groups and levels.

    Source:
        Nirkin et al., HyperSeg: Patch-wise Hypernetwork for Real-time Semantic Segmentation, CVPR 2021, sec. 3.
        arXiv:2012.11582

    Deviations:
        The defaults are HyperSeg-M's, whose code has a slip: all levels read the first channels of the signal, which
        the nested U-Net does not reach, so that it has no effect. That is `slices: first`; `own` is the paper's, and
        that of the authors' later code. Sides need not divide: maps are extended by their last row and column to whole
        patches, and cut again. A map that an align made is read in place of a level, so that any align may come before.
        The image comes as it is in [0, 1].
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[tuple[int, ...], Range(1, 512)] = (64, 32, 16),
        shares: Annotated[tuple[float, ...], Range(0.01, 1.0)] = (0.25, 0.25, 0.25, 0.25, 1.0),
        kernels: tuple[Literal[1, 3], ...] = (1, 1, 1, 3),
        groups: Annotated[tuple[int, ...], Range(1, 256)] = (32, 16, 8, 16, 4),
        expansion: Annotated[int, Range(1, 8)] = 2,
        signal: Annotated[int, Range(32, 4096)] = 1280,
        depth: Annotated[int, Range(1, 5)] = 2,
        slices: Literal["own", "first"] = "own",
        image: bool = False,
        dropout: Annotated[float, Range(0.0, 0.9)] = 0.2,
    ) -> None:
        super().__init__()
        self.place, levels = _levels(source)
        self.image = image
        narrowed = list(map(_narrowed, levels, reversed(_each(shares, len(levels)))))
        self.narrow = nn.ModuleList(module for module, _ in narrowed)
        self.lift = nn.Sequential(conv_norm_act(levels[-1].channels, signal, act=nn.SiLU), nn.Dropout(dropout))
        inputs = [count for _, count in reversed(narrowed)] + [source.image_channels] * image
        count = len(inputs)
        _check_signal(signal, _each(groups, count))
        self.decoder = PatchDecoder(
            inputs,
            (*_each(channels, count - 1), source.classes),
            kernels=_each(kernels, count),
            groups=_each(groups, count),
            signal=signal,
            expansion=expansion,
            own_slices=slices == "own",
            align_corners=source.align_corners,
        )
        self.context = NestedUNet(signal, levels=depth)
        self.out = source

    def forward(self, f: Features) -> Features:
        levels = (*f.pyramid[: self.place], current(f), *f.pyramid[self.place + 1 :])
        signal = self.context(self.lift(levels[-1]))
        read = [narrow(level) for narrow, level in zip(self.narrow, levels, strict=True)]
        return f._replace(logits=self.decoder([f.image, *read] if self.image else read, signal))


def _levels(source: Shapes) -> tuple[int, list[FeatureMap]]:
    """Say which level the map takes the place of, and what the levels are then."""
    given = aligned(source)
    levels = list(source.pyramid) or [given]
    place = max((i for i, level in enumerate(levels) if level.stride == given.stride), default=0)
    levels[place] = given
    return place, levels


def _narrowed(level: FeatureMap, share: float) -> tuple[nn.Module, int]:
    if share == 1:
        return nn.Identity(), level.channels
    count = max(1, round(level.channels * share))
    return conv_norm_act(level.channels, count, act=None), count


def _each(values: Sequence[_Value], count: int) -> list[_Value]:
    """As many as there are levels: the last one serves all finer ones."""
    return [values[min(i, len(values) - 1)] for i in range(count)]


def _check_signal(signal: int, groups: Sequence[int]) -> None:
    unit = max(groups)
    if signal % lcm(2, unit) or any(unit % each for each in groups) or signal // unit < len(groups):
        got = {"signal": signal, "groups": tuple(groups)}
        need = "an even signal that the most groups divide, a part for each level, and groups that divide the most"
        raise BlockError(law("hyperseg", need, got, f"Use powers of two and e.g. signal: {2 * unit * len(groups)}"))
