"""Use a trained network: whole images or windows of them, with flips and several scales averaged."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks.architecture import Architecture
from blocks.network import Network, untrained
from runners.protocol import Protocol

SCALES: Final = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""What the field means by several scales."""

_STRIDE: Final = 2 / 3  # of a window
_GRAIN: Final = 32  # sides of scaled images are multiples of it: every backbone takes those. [px]
_AT_ONCE: Final = 4  # windows in a batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """How an image becomes a prediction.

    Args:
        sliding: slide a window of the training size over the image at its own size, by two thirds of the window, and
            average the logits where windows overlap; else the whole image is brought to the training size. Samples that
            keep their proportions are at the size that the data set gives them, here as there.
        flip: average with the prediction of the mirrored image.
        scales: average over the image at these sizes, relative to what `sliding` says.
    """

    sliding: bool = False
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    @property
    def words(self) -> str:
        """For people: `sliding, flip, 6 scales`."""
        said = [name for name in ("sliding", "flip") if getattr(self, name)]
        return ", ".join([*said, *([f"{len(self.scales)} scales"] if self.scales != (1.0,) else [])]) or "single"


def restored(architecture: Architecture, protocol: Protocol, state: Mapping[str, Any]) -> Network:
    """Build a network with the weights that a checkpoint was judged by: the averaged ones where there are any.

    Args:
        architecture: the network.
        protocol: how it was trained.
        state: of the checkpoint.
    """
    network = Network(
        untrained(architecture),
        size=protocol.size,
        classes=protocol.classes,
        image_channels=protocol.image_channels,
    )
    network.load_state_dict(judged(state))
    return network.eval()


def judged(state: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """The network's weights that a checkpoint was judged by: the averaged ones where there are any."""
    fit = state["fit"]
    found: Mapping[str, Tensor] = fit["average"] or {
        name.removeprefix("network."): value for name, value in fit["supervised"].items() if name.startswith("network.")
    }
    return found


@torch.inference_mode()
def predict(
    network: nn.Module,
    image: Tensor,
    *,
    size: tuple[int, int],
    to: tuple[int, int],
    how: Inference,
    shape: tuple[int, int] | None = None,
) -> Tensor:
    """Probabilities of the classes at every pixel, averaged over scales and flips.

    Shape:
        image:  (C, H, W), floats in [0, 1], on the network's device
        output: (classes, *to)

    Args:
        network: in eval mode.
        image: at its own size.
        size: height and width that the network was trained at. [px]
        to: height and width of the prediction. [px]
        how: whole or by windows, flips, scales.
        shape: height and width at scale 1 of an image that keeps its proportions. To be predicted as a whole, its sides
            are resized to the nearest multiples of 32, or of what of 32 divides the training size: no network is then
            given sides that it cannot halve, and none sees padding. None is an image at its own size for windows, and
            at `size` as a whole. [px]
    """
    views = [_View(scale, mirrored) for scale in how.scales for mirrored in ((False, True) if how.flip else (False,))]
    found: Tensor | None = None
    for view in views:
        # The tool boxes turn logits into probabilities at the label's size.
        logits = _logits(network, image, view, _Sizes(size, shape, to), sliding=how.sliding)
        probabilities = logits.softmax(dim=0)
        found = probabilities if found is None else found + probabilities
    assert found is not None  # there is one view at least
    return found / len(views)


@torch.inference_mode()
def classified(
    network: nn.Module,
    image: Tensor,
    *,
    size: tuple[int, int],
    to: tuple[int, int],
    how: Inference,
    shape: tuple[int, int] | None = None,
) -> Tensor:
    """The most probable class of every pixel, `to` int64; arguments as those of `predict`."""
    if how.flip or len(how.scales) > 1:
        return predict(network, image, size=size, to=to, how=how, shape=shape).argmax(dim=0)
    # Of one view, the largest logit is the largest probability, and half of the work is saved.
    view = _View(how.scales[0], mirrored=False)
    return _logits(network, image, view, _Sizes(size, shape, to), sliding=how.sliding).argmax(dim=0)


class _View(NamedTuple):
    """One look at an image."""

    scale: float
    mirrored: bool


class _Sizes(NamedTuple):
    """Heights and widths, as `predict` is told them. [px]"""

    trained: tuple[int, int]
    shape: tuple[int, int] | None
    to: tuple[int, int]

    def whole(self, scale: float) -> tuple[int, int]:
        """What a whole image is resized to."""
        if self.shape is not None:
            grain = math.gcd(_GRAIN, *self.trained)
            return _multiple(self.shape[0] * scale, grain), _multiple(self.shape[1] * scale, grain)
        if scale == 1.0:
            return self.trained
        return _multiple(self.trained[0] * scale), _multiple(self.trained[1] * scale)

    def windowed(self, image: Tensor, scale: float) -> tuple[int, int]:
        """What an image is resized to that windows slide over."""
        height, width = self.shape or image.shape[-2:]
        return max(1, round(height * scale)), max(1, round(width * scale))


def _logits(network: nn.Module, image: Tensor, view: _View, sizes: _Sizes, *, sliding: bool) -> Tensor:
    """The logits that one view gives, float32 at the size of the prediction."""
    if view.mirrored:
        image = image.flip(-1)
    if sliding:
        found = slide(network, _resized(image[None], sizes.windowed(image, view.scale))[0], window=sizes.trained)
    else:
        found = whole(network, _resized(image[None], sizes.whole(view.scale))[0])
    if view.mirrored:
        found = found.flip(-1)
    return _resized(found[None].float(), sizes.to, antialias=False)[0]


def whole(network: nn.Module, image: Tensor) -> Tensor:
    """The logits of one image, (C, H, W) -> (classes, H, W)."""
    logits: Tensor = network(image[None])[0]
    return logits


def slide(network: nn.Module, image: Tensor, *, window: tuple[int, int]) -> Tensor:
    """The logits of one image by windows, averaged where they overlap; (C, H, W) -> (classes, H, W).

    An image that is smaller than the window is padded with zeros on the right and below; what is predicted there is cut
    off.
    """
    height, width = image.shape[-2:]
    padded = F.pad(image, (0, max(0, window[1] - width), 0, max(0, window[0] - height)))
    places = list(_places((padded.shape[-2], padded.shape[-1]), window))
    total: Tensor | None = None
    counts = image.new_zeros(padded.shape[-2:])
    for batch in _batches(places):
        crops = torch.stack([padded[:, top : top + window[0], left : left + window[1]] for top, left in batch])
        for (top, left), logits in zip(batch, network(crops), strict=True):
            if total is None:
                total = logits.new_zeros(logits.shape[0], *padded.shape[-2:])
            total[:, top : top + window[0], left : left + window[1]] += logits
            counts[top : top + window[0], left : left + window[1]] += 1
    assert total is not None  # there is one window at least
    return (total / counts)[:, :height, :width]


def _places(image: tuple[int, int], window: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The corners of the windows: the last one ends where the image does."""
    tops, lefts = (_starts(side, part) for side, part in zip(image, window, strict=True))
    return itertools.product(tops, lefts)


def _starts(side: int, part: int) -> list[int]:
    stride = max(1, math.floor(part * _STRIDE))
    count = max(0, -(-(side - part) // stride)) + 1
    return [min(index * stride, side - part) for index in range(count)]


def _batches(places: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    for first in range(0, len(places), _AT_ONCE):
        yield places[first : first + _AT_ONCE]


def _multiple(side: float, grain: int = _GRAIN) -> int:
    return max(grain, grain * round(side / grain))


def _resized(x: Tensor, size: tuple[int, int], *, antialias: bool = True) -> Tensor:
    """Bilinear; images with anti-aliasing where they shrink, as samples are resized for training."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size, mode="bilinear", antialias=antialias)
