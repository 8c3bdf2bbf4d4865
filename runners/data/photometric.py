"""The colour distortion of SSD, as the usual tool boxes train with it."""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from numpy.random import Generator
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

BRIGHTNESS: Final = 32 / 255
CONTRAST: Final = (0.5, 1.5)
SATURATION: Final = (0.5, 1.5)
HUE: Final = 18 / 180

_EVEN: Final = 0.5  # the probability of each


class Distortion(NamedTuple):
    """How one image is distorted; as it is made here, not at all."""

    brightness: float = 0.0
    early: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


def drawn(rng: Generator) -> Distortion:
    """Draw a distortion, each part with probability 0.5; what is not applied draws no strength."""
    return Distortion(
        brightness=rng.uniform(-BRIGHTNESS, BRIGHTNESS) if rng.random() < _EVEN else 0.0,
        early=float(rng.random() < _EVEN),
        contrast=rng.uniform(*CONTRAST) if rng.random() < _EVEN else 1.0,
        saturation=rng.uniform(*SATURATION) if rng.random() < _EVEN else 1.0,
        hue=rng.uniform(-HUE, HUE) if rng.random() < _EVEN else 0.0,
    )


def photometric(image: Tensor, distortion: Distortion) -> Tensor:
    """Distort brightness, contrast, saturation and hue, in this order.

    Contrast comes last where it does not come early. Brightness is added, contrast multiplied; saturation and hue are
    those of HSV. What leaves [0, 255] is cut off after each step.

    Shape:
        image:  (3, H, W), uint8, on any device
        output: the same

    Args:
        image: RGB.
        distortion: how strongly.

    Source:
        Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016, sec. 2.2 (data augmentation). arXiv:1512.02325

    Deviations:
        Tool boxes round to 8 bits between the steps; here it is rounded once, at the end.
    """
    brightness, early, contrast, saturation, hue = distortion
    if (brightness, contrast, saturation, hue) == (0.0, 1.0, 1.0, 0.0):
        return image
    pixels = image.float().div_(255)
    if brightness:
        pixels = pixels.add_(brightness).clamp_(0.0, 1.0)
    if early and contrast != 1.0:
        pixels = pixels.mul_(contrast).clamp_(0.0, 1.0)
    if saturation != 1.0:
        pixels = saturated(pixels, saturation)
    if hue:
        pixels = transforms.adjust_hue(pixels, hue)
    if not early and contrast != 1.0:
        pixels = pixels.mul_(contrast).clamp_(0.0, 1.0)
    return pixels.mul_(255).round_().byte()


def saturated(pixels: Tensor, factor: float) -> Tensor:
    """Multiply the saturation of HSV, up to 1, with hue and value as they are: (3, H, W), floats in [0, 1].

    The value of HSV is the largest channel, and saturation is by how much, relative to it, the smallest one is below.
    So each channel's distance to the largest grows by the factor, until the smallest is 0.
    """
    red, green, blue = pixels
    value = torch.maximum(torch.maximum(red, green), blue)
    least = torch.minimum(torch.minimum(red, green), blue)
    # Where a pixel is grey all distances are 0, whatever they are multiplied by.
    most = (value / (value - least).clamp_min_(1e-6)).clamp_max_(factor)
    return (pixels - value).mul_(most).add_(value)
