"""Random scale, crop, flip and colours, decided for each sample by (seed, epoch, index) alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from runners.data.contract import IGNORE
from runners.data.decode import resized
from runners.data.photometric import Distortion, drawn, photometric
from runners.training import Training

_REDRAWS: Final = 10
"""How often a crop of too much of one class is drawn again, at most."""


def generator(seed: int, epoch: int, index: int) -> Generator:
    """The random numbers of one sample in one epoch, whichever process draws them."""
    return np.random.default_rng([seed, epoch, index])


def augment(
    image: Tensor, label: Tensor, training: Training, rng: Generator, *, size: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor]:
    """Vary a sample without changing its type.

    Shape:
        image:  (C, H, W), uint8
        label:  (H, W), uint8
        output: the same of height and width `size`, or of H and W where it is None
    """
    image, label, changes = moved(image, label, training, rng, size=size)
    return coloured(image, changes), label


def moved(
    image: Tensor, label: Tensor, training: Training, rng: Generator, *, size: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Do all of `augment` but the colours: how those are to change is drawn, and left to `coloured`."""
    low, high = sorted(training.scale)
    ratio = rng.uniform(low, high)
    image, label = scale(image, label, ratio, rng, size=size, largest_class=training.largest_class)
    if rng.random() < training.flip:
        image, label = image.flip(-1), label.flip(-1)
    return image, label, colours(training, rng, channels=image.shape[0])


def colours(training: Training, rng: Generator, *, channels: int) -> Tensor:
    """Draw how the colours of an image change: the factors of `jitter`, a `Distortion`, or nothing.

    Shape:
        output: (3), (5) or (0), float64
    """
    drawing: Sequence[float] = ()
    # Saturation means nothing to a grey image, nor brightness to a fourth channel that may be depth.
    if channels == 3 and training.photometric:
        drawing = drawn(rng)
    elif channels == 3 and training.jitter:
        drawing = rng.uniform(1.0 - training.jitter, 1.0 + training.jitter, 3).tolist()
    return torch.tensor(drawing, dtype=torch.float64)


def coloured(image: Tensor, changes: Tensor) -> Tensor:
    """Change the colours of an image as `colours` has drawn it: (C, H, W), uint8, on any device."""
    if len(changes) == 0:
        return image
    values = changes.tolist()
    return photometric(image, Distortion(*values)) if len(values) == len(Distortion._fields) else jitter(image, *values)


def scale(
    image: Tensor,
    label: Tensor,
    ratio: float,
    rng: Generator,
    *,
    size: tuple[int, int] | None = None,
    largest_class: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Resize by `ratio` with the proportions kept, then crop or pad at a random place to a size.

    The crop is taken before the resize: the same picture for less work. Padding is the image's mean, labelled 255.

    Args:
        image: (C, H, W), uint8.
        label: (H, W), uint8.
        ratio: to the size that they have.
        rng: of the sample.
        size: height and width of what is returned; None is what they have. [px]
        largest_class: a crop in which one class has a larger share of the labelled pixels, or that shows none, is
            drawn again, up to ten times.
    """
    before = (label.shape[0], label.shape[1])
    size = size or before
    rows, columns = _drawn(before, size, ratio, rng)
    whole = rows.length * columns.length == label.numel()
    for _ in range(0 if whole or largest_class == 1.0 else _REDRAWS):
        if _mixed(label[rows.source, columns.source], largest_class):
            break
        rows, columns = _drawn(before, size, ratio, rng)
    part, truth = resized(
        image[:, rows.source, columns.source], label[rows.source, columns.source], (rows.shown, columns.shown)
    )
    return (part, truth) if truth.shape == size else _padded(image, part, truth, (rows, columns), size)


class _Span(NamedTuple):
    """Along one side: from where and how much is taken, and where and how long that is in what is returned."""

    start: int
    length: int
    offset: int
    shown: int

    @property
    def source(self) -> slice:
        return slice(self.start, self.start + self.length)

    @property
    def target(self) -> slice:
        return slice(self.offset, self.offset + self.shown)


def _drawn(before: tuple[int, int], size: tuple[int, int], ratio: float, rng: Generator) -> tuple[_Span, _Span]:
    """Draw a crop: its rows and its columns."""
    rows, columns = (_span(side, out, ratio, rng) for side, out in zip(before, size, strict=True))
    return rows, columns


def _span(side: int, out: int, ratio: float, rng: Generator) -> _Span:
    """All of a side where it leaves room after scaling, at a random place in that; else a random part of it."""
    scaled = max(1, round(side * ratio))
    if scaled < out:
        return _Span(0, side, int(rng.integers(0, out - scaled + 1)), scaled)
    length = min(side, max(1, round(out / ratio)))
    return _Span(int(rng.integers(0, side - length + 1)), length, 0, out)


def _mixed(label: Tensor, largest: float) -> bool:
    """Whether a crop shows labelled pixels, and no class has a larger share of them than it may."""
    counts = torch.bincount(label.flatten(), minlength=IGNORE)[:IGNORE]
    total = int(counts.sum())
    return total > 0 and int(counts.max()) <= largest * total


def _padded(
    image: Tensor, part: Tensor, truth: Tensor, spans: tuple[_Span, _Span], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Lay what was taken of an image on its mean colour."""
    mean = image.float().mean((-2, -1), keepdim=True).to(torch.uint8)
    canvas, ignored = mean.expand(-1, *size).clone(), truth.new_full(size, IGNORE)
    inside = (..., spans[0].target, spans[1].target)
    canvas[inside], ignored[inside] = part, truth
    return canvas, ignored


def jitter(image: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Change brightness, contrast and saturation, each by a factor."""
    image = transforms.adjust_brightness(image, brightness)
    image = transforms.adjust_contrast(image, contrast)
    return transforms.adjust_saturation(image, saturation)  # type: ignore[no-any-return]
