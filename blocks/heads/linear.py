"""One linear classifier for every pixel."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import nn

from blocks.features import Features, Shapes, aligned
from blocks.options import Range


class Linear(nn.Module):
    """Classify each pixel of the map with a 1x1 convolution.

    Shape:
        map:    (N, C, H, W)
        logits: (N, classes, H, W)

    Args:
        source: what the map holds.
        dropout: of whole channels before the classifier. [probability]

    Raises:
        BlockError: no align has set a map.

    Source:
        Long et al., Fully Convolutional Networks for Semantic Segmentation, CVPR 2015, sec. 3.1. arXiv:1411.4038

    Deviations:
        Dropout of whole channels, as the field does since PSPNet.
    """

    version: ClassVar[int] = 1

    def __init__(self, source: Shapes, *, dropout: Annotated[float, Range(0.0, 0.9)] = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(aligned(source).channels, source.classes, 1)
        self.out = source

    def forward(self, f: Features) -> Features:
        return f._replace(logits=self.classifier(self.dropout(f.map)))
