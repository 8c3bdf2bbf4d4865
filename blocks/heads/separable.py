"""Depthwise separable 3x3 convolutions before the classifier, as in the decoder of DeepLabV3+."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar

from torch import nn

from blocks.features import Features, Shapes, aligned
from blocks.layers import separable_conv
from blocks.options import Range


class Separable(nn.Module):
    """Refine the map with depthwise separable 3x3 convolutions, then classify each pixel.

    Shape:
        map:    (N, C, H, W), any H, W >= 1
        logits: (N, classes, H, W)

    Args:
        source: what the map holds.
        channels: of the refined map. [count]
        depth: how many convolutions follow each other. [count]
        dropout: of whole channels before the classifier. [probability]

    Raises:
        BlockError: no align has set a map.

    Source:
        Chen et al., Encoder-Decoder with Atrous Separable Convolution, ECCV 2018, sec. 3.1 and 4. arXiv:1802.02611

    Deviations:
        Normalisation and activation after the depthwise convolution too, as in public code. The low-level skip that
        the paper refines with these convolutions is an align of its own, deeplab_plus, which has two of them: with it
        goes the head linear.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 256,
        depth: Annotated[int, Range(1, 8)] = 2,
        dropout: Annotated[float, Range(0.0, 0.9)] = 0.1,
    ) -> None:
        super().__init__()
        widths = (aligned(source).channels, *(channels for _ in range(depth)))
        self.refine = nn.Sequential(*(separable_conv(inputs, outputs) for inputs, outputs in pairwise(widths)))
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, source.classes, 1)
        self.out = source

    def forward(self, f: Features) -> Features:
        return f._replace(logits=self.classifier(self.dropout(self.refine(f.map))))
