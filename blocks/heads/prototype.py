"""Several learned prototypes a class: a pixel takes the class of the one that it is most like."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.features import Features, Shapes, aligned
from blocks.layers import conv_norm_act
from blocks.options import Range


class NearestPrototype(nn.Module):
    """Score each class of a pixel by its cosine to the nearest of the prototypes of the class.

    Shape:
        x:      (N, channels, H, W), any H, W >= 1
        output: (N, classes, H, W), values between -1 / temperature and 1 / temperature

    Args:
        channels: of the map and of the prototypes. [count]
        classes: how many are told apart. [count]
        count: prototypes of each class. [count]
        temperature: what cosines are divided by.
    """

    def __init__(self, channels: int, classes: int, *, count: int = 10, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature
        self.prototypes = nn.Parameter(torch.empty(classes, count, channels))
        # About of length 1: their direction alone counts, but it turns the slower the longer they are.
        nn.init.normal_(self.prototypes, std=channels**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        directions = F.normalize(self.prototypes, dim=2).flatten(0, 1)[:, :, None, None]
        cosines = F.conv2d(_on_sphere(x), directions)
        scored = cosines.reshape(x.shape[0], *self.prototypes.shape[:2], *x.shape[2:])
        return scored.amax(dim=2) / self.temperature


def _on_sphere(x: Tensor) -> Tensor:
    # In float32, as half precision cannot hold what keeps a vector of zeros from a division by zero.
    return F.normalize(x.float(), dim=1)


class Prototype(nn.Module):
    """Project each pixel onto a sphere and classify it by the nearest of a few prototypes that every class has there.

    The prototypes are learned and the same for every image. Each class may have several looks, which one weight vector
    would average.

    Shape:
        map:    (N, C, H, W), any H, W >= 1
        logits: (N, classes, H, W), values between -1 / temperature and 1 / temperature

    Args:
        source: what the map holds.
        channels: of the projection and the prototypes. [count]
        count: prototypes of each class. [count]
        temperature: what cosines are divided by; the lower, the surer the classifier can be.

    Raises:
        BlockError: no align has set a map.

    Source:
        Zhou et al., Rethinking Semantic Segmentation: A Prototype View, CVPR 2022, sec. 3.2. arXiv:2203.15102

    Deviations:
        The prototypes are parameters that the losses on the logits teach. In the paper they are means of clustered
        pixels that follow the training, taught by two contrasts more. Cosines are divided by the paper's temperature,
        where the authors' code has layer normalisations of the embedding and over the classes.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 256,
        count: Annotated[int, Range(1, 64)] = 10,
        temperature: Annotated[float, Range(0.01, 1.0)] = 0.1,
    ) -> None:
        super().__init__()
        inputs = aligned(source).channels
        self.project = nn.Sequential(conv_norm_act(inputs, inputs), nn.Conv2d(inputs, channels, 1))
        self.classifier = NearestPrototype(channels, source.classes, count=count, temperature=temperature)
        self.out = source

    def forward(self, f: Features) -> Features:
        return f._replace(logits=self.classifier(self.project(f.map)))
