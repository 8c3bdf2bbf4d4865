"""DFANet's decoder: shallow levels of all branches added up, deep ones too, and one convolution for each sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, TypeVar

from torch import Tensor, nn

from blocks.aligns.top_down import resizing
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, size_of
from blocks.options import Range

T = TypeVar("T")


class Gathering(nn.Module):
    """Resize maps to one size, add them up and convolve the sum; maps of unequal width are convolved one by one first.

    Shape:
        maps:   (N, inputs[i], H_i, W_i), any H_i, W_i >= 1
        output: (N, channels, *size)

    Args:
        inputs: channels of each map. [count]
        channels: channels that go out. [count]
        align_corners: how maps are resized.
    """

    def __init__(self, inputs: Sequence[int], channels: int, *, align_corners: bool = True) -> None:
        super().__init__()
        self.to_size = resizing("bilinear", align_corners)
        # What has one width shares one convolution, behind the sum.
        widths = inputs[:1] if len(set(inputs)) == 1 else inputs
        self.convs = nn.ModuleList(conv_norm_act(width, channels) for width in widths)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        if len(self.convs) == 1:
            summed: Tensor = self.convs[0](total([self.to_size(x, size) for x in maps]))
            return summed
        return total([self.to_size(conv(x), size) for conv, x in zip(self.convs, maps, strict=True)])


def total(maps: Sequence[Tensor]) -> Tensor:
    """Add maps up."""
    return sum(maps[1:], maps[0])


def halves(levels: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Return the shallow and the deep half: a middle level is deep, and a level alone is both."""
    middle = len(levels) // 2
    return levels[: max(1, middle)], levels[middle:]


class DeepAggregation(nn.Module):
    """Add up the shallow half of the pyramid and the deep half, convolve either sum, and add these.

    Of an odd number of levels the middle one is deep; one level alone is both. Over DFANet's encoder the shallow half
    is what its three branches begin with, the deep half what they end with.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, H_0, W_0)

    Args:
        source: what the pyramid holds.
        channels: of the map. [count]

    Source:
        Li et al., DFANet: Deep Feature Aggregation for Real-Time Semantic Segmentation, CVPR 2019, sec. 3.3.
        arXiv:1904.02216

    Deviations:
        Unverified: no code of the authors is public; this is the decoder of a third party, which aligns corners always.
        Halves whose levels differ in channels have a convolution for each level, before the sum.
    """

    version: ClassVar[int] = 1

    def __init__(self, source: Shapes, *, channels: Annotated[int, Range(8, 1024)] = 64) -> None:
        super().__init__()
        self.shallow, self.deep = (
            Gathering([level.channels for level in half], channels, align_corners=source.align_corners)
            for half in halves(source.pyramid)
        )
        self.out = source._replace(map=FeatureMap(channels, source.pyramid[0].stride))

    def forward(self, f: Features) -> Features:
        size = size_of(f.pyramid[0])
        shallow, deep = halves(f.pyramid)
        return f._replace(map=self.shallow(shallow, size) + self.deep(deep, size))
