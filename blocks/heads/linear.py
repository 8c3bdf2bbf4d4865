"""One linear classifier for every pixel."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar

from torch import nn

from blocks.features import Features, Shapes, aligned
from blocks.layers import conv_norm_act
from blocks.options import Range, When


class Linear(nn.Module):
    """Classify each pixel of the map with a 1x1 convolution, behind 3x3 ones where asked for.

    Shape:
        map:    (N, C, H, W)
        logits: (N, classes, H, W)

    Args:
        source: what the map holds.
        dropout: of whole channels before the classifier. [probability]
        convs: 3x3 convolutions with normalisation before it, which many published networks count to the head. [count]
        channels: of these convolutions. [count]

    Raises:
        BlockError: no align has set a map.

    Source:
        Long et al., Fully Convolutional Networks for Semantic Segmentation, CVPR 2015, sec. 3.1. arXiv:1411.4038

    Deviations:
        Dropout of whole channels, as the field does since PSPNet.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        dropout: Annotated[float, Range(0.0, 0.9)] = 0.1,
        convs: Annotated[int, Range(0, 4)] = 0,
        channels: Annotated[int, Range(8, 2048), When("convs", 1, 2, 3, 4)] = 128,
    ) -> None:
        super().__init__()
        inputs = aligned(source).channels
        widths = [inputs, *[channels] * convs]
        self.convs = nn.Sequential(*(conv_norm_act(a, b, 3) for a, b in pairwise(widths)))
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(widths[-1], source.classes, 1)
        self.out = source

    def forward(self, f: Features) -> Features:
        return f._replace(logits=self.classifier(self.dropout(self.convs(f.map))))
