"""The image as encoders were trained to see it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def per_channel(statistics: Sequence[float], channels: int) -> Tensor:
    """Fit the statistics of an RGB image to 1, 3 or 4 channels; what is not a colour gets their mean."""
    average = sum(statistics) / len(statistics)
    values = [average] if channels == 1 else [*statistics, average][:channels]
    return torch.tensor(values).view(1, channels, 1, 1)


class Normalise(nn.Module):
    """Take the mean of ImageNet from an image in [0, 1], and divide by its standard deviation.

    Shape:
        input:  (N, channels, H, W), values in [0, 1]
        output: (N, channels, H, W)

    Args:
        channels: 1 (grey), 3 (RGB) or 4 (RGB and one more). [count]
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", per_channel(IMAGENET_MEAN, channels), persistent=False)
        self.register_buffer("std", per_channel(IMAGENET_STD, channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std
