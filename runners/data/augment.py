"""Random scale, crop, flip and colour, decided for each sample by (seed, epoch, index) alone."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from runners.data.contract import IGNORE
from runners.training import Training


def generator(seed: int, epoch: int, index: int) -> Generator:
    """The random numbers of one sample in one epoch, whichever process draws them."""
    return np.random.default_rng([seed, epoch, index])


def augment(image: Tensor, label: Tensor, training: Training, rng: Generator) -> tuple[Tensor, Tensor]:
    """Vary a sample without changing its size or type.

    Shape:
        image: (C, H, W), uint8
        label: (H, W), uint8
    """
    low, high = sorted(training.scale)
    image, label = scale(image, label, rng.uniform(low, high), rng)
    if rng.random() < training.flip:
        image, label = image.flip(-1), label.flip(-1)
    # Saturation means nothing to a grey image, nor brightness to a fourth channel that may be depth.
    if training.jitter and image.shape[0] == 3:
        image = jitter(image, training.jitter, rng)
    return image, label


def scale(image: Tensor, label: Tensor, ratio: float, rng: Generator) -> tuple[Tensor, Tensor]:
    """Resize by `ratio`, then crop or pad at a random place to the size it had.

    The crop is taken before the resize: the same picture for less work. Padding is the image's mean, labelled 255.
    """
    size = label.shape[-2:]
    if ratio >= 1.0:
        window = [max(1, round(side / ratio)) for side in size]
        top, left = _place(size, window, rng)
        crop = (..., slice(top, top + window[0]), slice(left, left + window[1]))
        return _resize(image[crop], label[crop], list(size))
    small = [max(1, round(side * ratio)) for side in size]
    top, left = _place(size, small, rng)
    inside = (..., slice(top, top + small[0]), slice(left, left + small[1]))
    canvas = image.float().mean((-2, -1), keepdim=True).to(torch.uint8).expand_as(image).clone()
    ignored = torch.full_like(label, IGNORE)
    canvas[inside], ignored[inside] = _resize(image, label, small)
    return canvas, ignored


def _place(outer: torch.Size, inner: list[int], rng: Generator) -> tuple[int, int]:
    top, left = (int(rng.integers(0, abs(a - b) + 1)) for a, b in zip(outer, inner, strict=True))
    return top, left


def _resize(image: Tensor, label: Tensor, size: list[int]) -> tuple[Tensor, Tensor]:
    if list(label.shape) == size:
        return image, label
    nearest = InterpolationMode.NEAREST_EXACT
    return (
        transforms.resize(image, size, antialias=True),
        transforms.resize(label[None], size, interpolation=nearest)[0],
    )


def jitter(image: Tensor, strength: float, rng: Generator) -> Tensor:
    """Change brightness, contrast and saturation, each by a factor within 1 +- strength."""
    brightness, contrast, saturation = rng.uniform(1.0 - strength, 1.0 + strength, 3)
    image = transforms.adjust_brightness(image, brightness)
    image = transforms.adjust_contrast(image, contrast)
    return transforms.adjust_saturation(image, saturation)  # type: ignore[no-any-return]
