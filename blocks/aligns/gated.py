"""GateNet's gated pyramid: each level decides, for the whole image, how much of it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from blocks.aligns.top_down import resizing
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, prelu, size_of
from blocks.options import Range


class Gate(nn.Module):
    """Say how open each gate is: 3x3 convolutions to a map per gate, a sigmoid, and its mean.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, gates, 1, 1), between 0 and 1

    Args:
        inputs: channels of the level and of what the decoder brings, side by side. [count]
        hidden: channels between the convolutions; none for a single convolution. [count]
        gates: how many gates there are. [count]
    """

    def __init__(self, inputs: int, hidden: Sequence[int], gates: int = 2) -> None:
        super().__init__()
        self.convs = nn.Sequential()
        for width in hidden:
            self.convs.append(_conv(inputs, width))
            inputs = width
        self.convs.append(nn.Conv2d(inputs, gates, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.convs(x).sigmoid()
        return maps.mean(dim=(2, 3), keepdim=True)


class GatedPyramid(nn.Module):
    """Carry the pyramid from the top down, adding as much of each level as its gate lets through.

    A level's gate reads the level and what the decoder brings from the coarser ones (at the deepest level: what is made
    of it). Its second opening weighs the level in a branch that concatenates all of them, next to the finest of the
    decoder's maps, and whose outcome is added to that.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, H_0, W_0)

    Args:
        source: what the pyramid holds.
        channels: width of the branch of all levels and of the map. [count]
        width: least width of a level in the decoder, which is a quarter of its channels where that is more; a gate's
            hidden layers have a quarter, a sixteenth ... of them down to this. [count]
        parallel: whether there is a branch of all levels; without it a gate has one opening.

    Source:
        Zhao et al., Suppress and Balance: A Simple Gated Network for Salient Object Detection, ECCV 2020, sec. 3.
        arXiv:2007.08074

    Deviations:
        The decoder's finest map has `channels` channels, normalisation and PReLU, where the authors' is the saliency
        itself, of one channel; likewise the other branch ends before its classifier. The folded atrous pyramid on the
        deepest level is the context fold_aspp; a 3x3 convolution follows it, as on every other level.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 256,
        width: Annotated[int, Range(8, 1024)] = 64,
        parallel: bool = True,
    ) -> None:
        super().__init__()
        given = [level.channels for level in source.pyramid]
        widths = [max(width, count // 4) for count in given]
        self.to_size = resizing("bilinear", source.align_corners)
        self.gates = nn.ModuleList(
            Gate(count + own, _quarters(count, width), 2 if parallel else 1)
            for count, own in zip(given, widths, strict=True)
        )
        self.transitions = nn.ModuleList(_conv(count, own) for count, own in zip(given, widths, strict=True))
        below = [channels, *widths[:-1]]
        self.decoder = nn.ModuleList(_conv(own, finer) for own, finer in zip(widths, below, strict=True))
        self.parallel: nn.Module | None = None
        if parallel:
            self.parallel = nn.Sequential(_conv(channels + sum(widths), channels), _conv(channels, channels))
        self.out = source._replace(map=FeatureMap(channels, source.pyramid[0].stride))

    def forward(self, f: Features) -> Features:
        steps = zip(f.pyramid, self.transitions, self.gates, self.decoder, strict=True)
        x: Tensor | None = None
        weighed: list[Tensor] = []
        for level, transition, gate, decode in reversed(list(steps)):
            own = transition(level)
            brought = None if x is None else self.to_size(x, size_of(level))
            openings = gate(torch.cat([level, own if brought is None else brought], dim=1))
            passed = openings[:, :1] * own
            x = decode(passed if brought is None else brought + passed)
            weighed.append(openings[:, -1:] * own)
        assert x is not None
        if self.parallel is None:
            return f._replace(map=x)
        levels = [self.to_size(level, size_of(x)) for level in weighed]
        return f._replace(map=x + self.parallel(torch.cat([x, *levels], dim=1)))


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return conv_norm_act(inputs, outputs, 3, bias=True, act=prelu)


def _quarters(channels: int, least: int) -> list[int]:
    """A quarter of the channels, a sixteenth, and so on down to the least width."""
    found = []
    while channels // 4 >= least:
        channels //= 4
        found.append(channels)
    return found
