"""Point-wise spatial attention (PSANet)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from blocks.attention import Size, as_map, tokens
from blocks.features import FeatureMap
from blocks.layers import conv_norm_act, resize, size_of
from blocks.options import Range

_BAND = 4  # rows of pixels whose masks are predicted at a time: fewer are slower, more predict more that is unused
_MOST_KEPT = 2**22  # weights that are kept for the gradient: 16 MiB in float32; more are computed again


def seen(masks: Tensor, part: Size, height: int) -> Tensor:
    """Turn what pixels say of offsets from themselves into what they say of every pixel of the map.

    Shape:
        input:  (N, rows * W, (height + rows - 1) * (2W - 1)): offsets down, from the last pixel's to the first row to
            the first pixel's to the last row; offsets to the right, from 1 - W to W - 1
        output: (N, rows * W, height * W)

    Args:
        masks: one number per pixel and offset.
        part: how many rows these pixels are, and the width of the map. [px]
        height: of the map. [px]
    """
    rows, width = part
    across, offsets = 2 * width - 1, masks.shape[-1]
    # One pixel on, the same place lies one offset back: the map is a view whose steps are oblique.
    steps = (masks[0].numel(), width * offsets - across, offsets - 1, across, 1)
    view = masks.contiguous().as_strided(
        (masks.shape[0], rows, width, height, width), steps, (rows - 1) * across + width - 1
    )
    return view.flatten(3).flatten(1, 2)


class PredictedAttention(nn.Module):
    """Move a map's pixels by masks that each pixel predicts from its own features.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, values, h, w), the map shrunk

    Args:
        inputs: channels that come in. [count]
        values: channels that are moved. [count]
        mask: height and width of a mask. An over-complete one has odd sides and its own pixel in the middle. [px]
        collect: a pixel's mask says what it takes of each other pixel; else, what each other gets of it.
        compact: masks lie over the map, not around their pixel, and are resized to a map of another size.
        shrink: how many times smaller the map is on which pixels are moved.
        softmax: over all sources of a target, where those beyond a mask count as zero; else masks are the weights.
        normalization: what the result is divided by.
        align_corners: how the map is shrunk.
    """

    def __init__(
        self,
        inputs: int,
        values: int,
        mask: Size,
        *,
        collect: bool,
        compact: bool,
        shrink: int,
        softmax: bool,
        normalization: float,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.mask, self.collect, self.compact, self.shrink = mask, collect, compact, shrink
        self.softmax, self.normalization, self.align_corners = softmax, normalization, align_corners
        self.reduce = conv_norm_act(inputs, values)
        self.adapt = conv_norm_act(values, values)
        self.predict = nn.Conv2d(values, mask[0] * mask[1], 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = size = (x.shape[2] - 1) // self.shrink + 1, (x.shape[3] - 1) // self.shrink + 1
        x = resize(self.reduce(x), size, self.align_corners)
        own, kernel, values = self.adapt(x), self._kernel(size), tokens(x)
        run: Callable[..., Any] = _call
        # A tracer plans memory for itself.
        if (
            torch.is_grad_enabled()
            and not torch.compiler.is_compiling()
            and x.shape[0] * (height * width) ** 2 > _MOST_KEPT
        ):
            run = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
        bands = [(top, min(top + _BAND, height)) for top in range(0, height, _BAND)]
        if self.collect:
            moved = torch.cat([run(self._taken, own[:, :, a:b], kernel, a, values) for a, b in bands], dim=1)
        else:
            sent = (run(self._sent, own[:, :, a:b], kernel, a, values[:, a * width : b * width]) for a, b in bands)
            moved = _merged(sent) if self.softmax else torch.stack([part for part, _, _ in sent]).sum(dim=0)
        return as_map(moved, size) / self.normalization

    def _taken(self, own: Tensor, kernel: Tensor, first: int, values: Tensor) -> Tensor:
        """What the pixels of a band take of all."""
        masks = self._masks(own, kernel, first)
        return (masks.softmax(dim=-1) if self.softmax else masks) @ values

    def _sent(self, own: Tensor, kernel: Tensor, first: int, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What all get of the pixels of a band, the sum of its weights, and the mask's value that has weight 1."""
        masks = self._masks(own, kernel, first)
        peak = masks.detach().amax(dim=1, keepdim=True)
        weights = (masks - peak).exp() if self.softmax else masks
        return weights.transpose(1, 2) @ values, weights.sum(dim=1).unsqueeze(2), peak.transpose(1, 2)

    def _masks(self, own: Tensor, kernel: Tensor, first: int) -> Tensor:
        """What each pixel of a band, from row `first` on, says of all: (N, pixels of the band, pixels of the map)."""
        if self.compact:
            return F.linear(tokens(own), kernel.flatten(0, 1))
        part, height = size_of(own), (kernel.shape[0] + 1) // 2
        window = kernel[height - first - part[0] : 2 * height - 1 - first]
        return seen(F.linear(tokens(own), window.flatten(0, 1)), part, height)

    def _kernel(self, size: Size) -> Tensor:
        """What predicts a mask that fits the map: (height, width, values)."""
        weight = self.predict.weight.view(*self.mask, -1)
        if self.compact:
            return resize(weight.permute(2, 0, 1)[None], size, True)[0].permute(1, 2, 0)
        down, right = ((2 * side - 1 - reach) // 2 for side, reach in zip(size, self.mask, strict=True))
        # Zeros at offsets beyond the mask; of a mask that reaches beyond the map, the middle.
        return F.pad(weight, (0, 0, right, right, down, down)) if down or right else weight


def _call(function: Callable[..., Any], *given: Any) -> Any:
    return function(*given)


def _merged(bands: Iterator[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Add up what targets get of every band, as one softmax over all of them weighs it."""
    moved, total, peak = next(bands)
    for part, weight, top in bands:
        level = torch.maximum(peak, top)
        before, now = (peak - level).exp(), (top - level).exp()
        moved, total, peak = moved * before + part * now, total * before + weight * now, level
    return moved / total


class SpatialAttention(nn.Module):
    """A map beside what its pixels collected from each other, distributed to each other, or both.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, 2 * inputs, H, W), the map first

    Args:
        inputs: channels of the map. [count]
        values: channels in which pixels are moved. [count]
        mask: height and width of a mask, see `PredictedAttention`. [px]
        direction: whose masks count: the targets' (`collect`), the sources' (`distribute`), or one branch for each.
        compact: masks over the map instead of over offsets.
        shrink: how many times smaller the map is on which pixels are moved.
        softmax: over the sources of each target.
        normalization: what the result is divided by.
        align_corners: how the map is shrunk and grown.
    """

    def __init__(
        self,
        inputs: int,
        values: int,
        mask: Size,
        *,
        direction: Literal["both", "collect", "distribute"] = "both",
        compact: bool = False,
        shrink: int = 2,
        softmax: bool = True,
        normalization: float = 1.0,
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.branches = nn.ModuleList(
            PredictedAttention(
                inputs,
                values,
                mask,
                collect=collect,
                compact=compact,
                shrink=shrink,
                softmax=softmax,
                normalization=normalization,
                align_corners=align_corners,
            )
            for collect in {"both": (True, False), "collect": (True,), "distribute": (False,)}[direction]
        )
        self.project = conv_norm_act(len(self.branches) * values, inputs)

    def forward(self, x: Tensor) -> Tensor:
        moved = self.project(torch.cat([branch(x) for branch in self.branches], dim=1))
        return torch.cat([x, resize(moved, size_of(x), self.align_corners)], dim=1)


class PointwiseSpatialAttention(nn.Module):
    """Let every pixel say, from its features alone, what it takes of all others and what they get of it; then fuse.

    The masks are as many channels as the map has offsets between two pixels: at other sizes than the network is built
    for, offsets beyond count as zero and a smaller map takes the middle of the masks. Parameters and cost grow with
    the pixels of the image and with their square.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        size: height and width of the image, which decide how far masks reach. [px]
        align_corners: how the map is shrunk and grown.
        channels: channels of the fused map. [count]
        values: channels in which pixels are moved. [count]
        direction: `collect` uses the masks of the target, `distribute` those of the source, `both` a branch for each.
        compact: a mask lies over the map as it is (and is resized to others) instead of around its pixel: a quarter of
            the parameters.
        shrink: how many times smaller the map is on which pixels are moved.
        softmax: over the sources of each target; without it the masks are weights, over the number of their pixels.

    Source:
        Zhao et al., PSANet: Point-wise Spatial Attention Network for Scene Parsing, ECCV 2018, sec. 3.

    Deviations:
        Any size: the authors' code needs odd ones and fixes that of compact masks. Only masks that the map needs are
        predicted: the same numbers for fewer multiply-accumulates. The authors resize with `align_corners=True`; here
        the network decides. Compact masks of distribution are transposed as the authors do it (mmsegmentation
        transposes those of collection, which exchanges the two), and the projection is not padded (mmsegmentation pads
        a 1x1 convolution by 1). The dropout of 0.1 after the fusion is the head's.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        size: tuple[int, int],
        align_corners: bool = False,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        values: Annotated[int, Range(8, 2048)] = 512,
        direction: Literal["both", "collect", "distribute"] = "both",
        compact: bool = False,
        shrink: Annotated[int, Range(1, 8)] = 2,
        softmax: bool = True,
    ) -> None:
        super().__init__()
        height, width = (-(-side // (source.stride * shrink)) for side in size)
        mask = (height, width) if compact else (2 * height - 1, 2 * width - 1)
        self.attention = SpatialAttention(
            source.channels,
            values,
            mask,
            direction=direction,
            compact=compact,
            shrink=shrink,
            softmax=softmax,
            normalization=1.0 if softmax else float(mask[0] * mask[1]),
            align_corners=align_corners,
        )
        self.fuse = conv_norm_act(2 * source.channels, channels, 3)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.fuse(self.attention(x))
        return fused
