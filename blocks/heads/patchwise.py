"""Convolutions whose weights differ from image to image and from patch to patch, and a decoder of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.aligns.sampling import regular_grid
from blocks.attention import Size, cropped, joined
from blocks.layers import BatchNorm, resize, size_of


def weight_maker(signal: int, weights: int, groups: int) -> nn.Conv2d:
    """A convolution that turns each cell of the signal into the weights of its patch, and some more to fill a group."""
    return nn.Conv2d(signal, -(-weights // groups) * groups, 1, groups=groups, bias=False)


class PatchConv(nn.Module):
    """A 1x1 convolution with weights of its own for each patch; then normalisation and activation.

    The signal has one cell a patch. Where the sides of the map are no multiples of the signal's, patches are rounded up
    and the last ones reach over the border, where the map repeats its outermost pixels.

    Shape:
        x:      (N, inputs, H, W), any H, W >= 1
        signal: (N, signal, h, w), any h, w >= 1
        output: (N, outputs, H, W)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
        signal: channels that the weights are made from. [count]
        groups: of the convolution that makes them; a divisor of `signal`. [count]
    """

    def __init__(self, inputs: int, outputs: int, *, signal: int, groups: int) -> None:
        super().__init__()
        self.shape = (outputs, inputs, 1, 1)
        self.make = weight_maker(signal, self.weights(inputs, outputs), groups)
        self.norm = BatchNorm(outputs)

    @staticmethod
    def weights(inputs: int, outputs: int) -> int:
        """How many weights a patch needs. [count]"""
        return inputs * outputs

    def forward(self, x: Tensor, signal: Tensor) -> Tensor:
        grid = size_of(signal)
        (weight,) = _split(self.make(signal), self.shape)
        y = joined(_convolved(_patches(x, grid), weight), grid)
        return F.relu(self.norm(cropped(y, size_of(x))))


class PatchInvertedResidual(nn.Module):
    """An inverted residual, 1x1, 3x3 depthwise, 1x1, with weights of its own for each patch.

    Patches are cut with a pixel of their neighbours around them, which the first convolution sees too; at the map's
    border that pixel is a reflection. Sides that are no multiples: see `PatchConv`.

    Shape:
        x:      (N, inputs, H, W), any H, W >= 1
        signal: (N, signal, h, w), any h, w >= 1
        output: (N, outputs, H, W)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out; where they are as many, the input is added. [count]
        signal: channels that the weights are made from. [count]
        groups: of the convolution that makes them; a divisor of `signal`. [count]
        expansion: width between the 1x1 convolutions. [times the inputs]
    """

    def __init__(self, inputs: int, outputs: int, *, signal: int, groups: int, expansion: int = 2) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = inputs == outputs
        self.shapes = ((hidden, inputs, 1, 1), (hidden, 1, 3, 3), (outputs, hidden, 1, 1))
        self.norm1 = BatchNorm(hidden)
        self.norm2 = BatchNorm(hidden)
        self.norm3 = BatchNorm(outputs)
        self.make = weight_maker(signal, self.weights(inputs, outputs, expansion), groups)

    @staticmethod
    def weights(inputs: int, outputs: int, expansion: int = 2) -> int:
        """How many weights a patch needs. [count]"""
        return inputs * expansion * (inputs + 9 + outputs)

    def forward(self, x: Tensor, signal: Tensor) -> Tensor:
        grid = size_of(signal)
        expand, depthwise, project = _split(self.make(signal), *self.shapes)
        y = F.relu6(self.norm1(_convolved(_patches(x, grid, halo=True), expand)))
        y = F.relu6(self.norm2(_convolved(y, depthwise)))
        y = cropped(joined(self.norm3(_convolved(y, project)), grid), size_of(x))
        return x + y if self.residual else y


class PatchDecoder(nn.Module):
    """Decode a pyramid from coarse to fine, with convolutions whose weights a signal makes for each patch.

    Every level reads where its pixels lie, its own features and what the coarser one found.

    Shape:
        levels: (N, inputs[-1 - i], H_i, W_i), fine to coarse, any H_i, W_i >= 1
        signal: (N, signal, h, w), one cell a patch
        output: (N, outputs[-1], H_0, W_0)

    Args:
        inputs: channels of the levels, coarse to fine. [count]
        outputs: of each level, coarse to fine. [count]
        kernels: 1, a convolution with activation, or 3, an inverted residual without, coarse to fine. [px]
        groups: of the convolutions that make the weights, coarse to fine. [count]
        signal: channels of the signal, a multiple of the most groups. [count]
        expansion: of the inverted residuals. [times their inputs]
        own_slices: each level's weights are made from channels of the signal that no other level reads.
        align_corners: how a level's result is resized.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        kernels: Sequence[int] = (1, 1, 1, 3, 3),
        groups: Sequence[int] = (32, 16, 8, 16, 4),
        signal: int = 1280,
        expansion: int = 2,
        own_slices: bool = True,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        widths = [2 + own + before for own, before in zip(inputs, (0, *outputs), strict=False)]
        weights = [
            PatchConv.weights(i, o) if kernel == 1 else PatchInvertedResidual.weights(i, o, expansion)
            for i, o, kernel in zip(widths, outputs, kernels, strict=True)
        ]
        self.slices = portions(signal, weights, unit=max(groups))
        self.starts = [0, *accumulate(self.slices[:-1])] if own_slices else [0] * len(self.slices)
        self.levels = nn.ModuleList(
            PatchConv(i, o, signal=length, groups=g)
            if kernel == 1
            else PatchInvertedResidual(i, o, signal=length, groups=g, expansion=expansion)
            for i, o, kernel, g, length in zip(widths, outputs, kernels, groups, self.slices, strict=True)
        )

    def forward(self, levels: Sequence[Tensor], signal: Tensor) -> Tensor:
        found: tuple[Tensor, ...] = ()
        for own, decode, start, length in zip(reversed(levels), self.levels, self.starts, self.slices, strict=True):
            before = [resize(coarser, size_of(own), self.align_corners) for coarser in found]
            x = torch.cat((_places(own), own, *before), dim=1)
            found = (decode(x, signal[:, start : start + length]),)
        return found[0]


def portions(signal: int, weights: Sequence[int], *, unit: int) -> list[int]:
    """Share a signal's channels among levels by how many weights they need: each a multiple of `unit`, none of nothing.

    Shares are rounded down, in turn from the level that needs most; the one that needs least gets what is left.
    """
    units = left = signal // unit
    shares = [0] * len(weights)
    *larger, smallest = sorted(range(len(weights)), key=weights.__getitem__, reverse=True)
    for place, level in enumerate(larger):
        waiting = len(larger) - place
        shares[level] = min(max(1, weights[level] * units // sum(weights)), left - waiting)
        left -= shares[level]
    shares[smallest] = left
    return [share * unit for share in shares]


def extended(x: Tensor, multiple: Size) -> Tensor:
    """Repeat the last row and column until height and width are multiples; `cropped` undoes it."""
    down, right = (-side % step for side, step in zip(size_of(x), multiple, strict=True))
    return F.pad(x, (0, right, 0, down), mode="replicate") if down or right else x


def _places(x: Tensor) -> Tensor:
    """Say for each pixel of a map where it lies, -1 to 1 across and down: (N, 2, H, W)."""
    grid = regular_grid(size_of(x), align_corners=True, device=x.device).to(x.dtype)
    return grid.permute(0, 3, 1, 2).expand(x.shape[0], -1, -1, -1)


def _split(weights: Tensor, *shapes: tuple[int, int, int, int]) -> list[Tensor]:
    """Share out what was made in each cell among convolutions: (N * h * w, *shape) for each of the shapes."""
    counts = [torch.Size(shape).numel() for shape in shapes]
    flat = weights.permute(0, 2, 3, 1).flatten(0, 2)[:, : sum(counts)]
    return [part.reshape(-1, *shape) for part, shape in zip(torch.split(flat, counts, dim=1), shapes, strict=True)]


def _patches(x: Tensor, grid: Size, *, halo: bool = False) -> Tensor:
    """Cut a map into a grid of patches, with the pixels next to them where there is to be a halo."""
    sides = height, width = tuple(-(-side // parts) for side, parts in zip(size_of(x), grid, strict=True))
    x = extended(x, (height * grid[0], width * grid[1]))
    edge = 0
    if halo:
        x, edge = _reflected(_reflected(x, 2), 3), 2
    for dim, side in enumerate(sides, start=2):
        x = x.unfold(dim, side + edge, side)
    return x.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)  # (N, C, h, w, rows, columns) before


def _reflected(x: Tensor, dim: int) -> Tensor:
    """Add the reflection of one pixel at both ends; unlike torch's, of a side of a single pixel too."""
    last = x.shape[dim] - 1
    return torch.cat((x.narrow(dim, min(1, last), 1), x, x.narrow(dim, max(0, last - 1), 1)), dim=dim)


def _convolved(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve each patch with weights of its own.

    Shape:
        x:      (patches, C, h, w)
        weight: (patches, D, C or 1, k, k)
        output: (patches, D, h - k + 1, w - k + 1)
    """
    count, outputs, inputs = weight.shape[:3]
    y = F.conv2d(x.flatten(0, 1)[None], weight.flatten(0, 1), groups=count * x.shape[1] // inputs)
    return y.reshape(count, outputs, *y.shape[2:])
