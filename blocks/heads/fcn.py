"""Plain convolutions before the classifier: the head of most real-time networks."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from torch import nn

from blocks.features import Features, Shapes, aligned
from blocks.layers import conv_norm_act
from blocks.options import Range


class Convolutional(nn.Sequential):
    """Convolutions with normalisation and ReLU, dropout of whole channels, and a 1x1 classifier.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, classes, H, W)

    Args:
        inputs: channels that come in. [count]
        channels: width of the convolutions. [count]
        classes: how many are told apart. [count]
        convs: how many convolutions there are before the classifier. [count]
        kernel: side of their kernels. [px]
        dropout: of whole channels before the classifier. [probability]
    """

    def __init__(
        self, inputs: int, channels: int, classes: int, *, convs: int = 1, kernel: int = 3, dropout: float = 0.1
    ) -> None:
        widths = [inputs, *([channels] * convs)]
        layers = [conv_norm_act(before, after, kernel) for before, after in pairwise(widths)]
        super().__init__(*layers, nn.Dropout2d(dropout), nn.Conv2d(widths[-1], classes, 1))


class FullyConvolutional(nn.Module):
    """Convolve the map with normalisation and ReLU, then classify each pixel.

    Shape:
        map:    (N, C, H, W), any H, W >= 1
        logits: (N, classes, H, W)

    Args:
        source: what the map holds.
        channels: width of the convolutions. [count]
        depth: how many convolutions follow each other. [count]
        kernel: side of their kernels; HRNet's head has 1. [px]
        dropout: of whole channels before the classifier. [probability]

    Raises:
        BlockError: no align has set a map.

    Source:
        Long et al., Fully Convolutional Networks for Semantic Segmentation, CVPR 2015, sec. 3.1. arXiv:1411.4038; in
        this form: Yu et al., BiSeNet, ECCV 2018, in the authors' code; mmsegmentation's FCNHead without `concat_input`

    Deviations:
        The first source convolves without normalisation, as networks did then.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 4096)] = 256,
        depth: Annotated[int, Range(1, 4)] = 1,
        kernel: Literal[1, 3] = 3,
        dropout: Annotated[float, Range(0.0, 0.9)] = 0.1,
    ) -> None:
        super().__init__()
        width = aligned(source).channels
        self.block = Convolutional(width, channels, source.classes, convs=depth, kernel=kernel, dropout=dropout)
        self.out = source

    def forward(self, f: Features) -> Features:
        return f._replace(logits=self.block(f.map))
