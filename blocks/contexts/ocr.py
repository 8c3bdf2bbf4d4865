"""Object-contextual representations (OCR)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from blocks.attention import as_map, attend_maps, tokens
from blocks.features import FeatureMap, Features, Shapes, current, replaced
from blocks.layers import conv_norm_act
from blocks.options import Range


class ObjectAttention(nn.Module):
    """Gather the map into one representation a class, and give each pixel the mix of them that it resembles.

    Shape:
        x:      (N, inputs, H, W), any H, W >= 1
        coarse: logits (N, K, H, W) of any K classes
        output: (N, outputs, H, W)

    Args:
        inputs: channels of the map. [count]
        keys: width of queries, keys and values. [count]
        outputs: channels that go out. [count]
        dropout: of whole channels that go out. [probability]
    """

    def __init__(self, inputs: int, keys: int, outputs: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.scale = keys**-0.5
        self.query = two_convs(inputs, keys)
        self.key = two_convs(inputs, keys)
        self.value = conv_norm_act(inputs, keys)
        self.up = conv_norm_act(keys, inputs)
        self.fuse = conv_norm_act(2 * inputs, outputs)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor, coarse: Tensor) -> Tensor:
        # The softmax runs over the pixels: where is the class, not which class is here.
        objects = coarse.flatten(2).softmax(dim=2) @ tokens(x)
        objects = as_map(objects, (coarse.shape[1], 1))
        context = attend_maps(self.query(x), self.key(objects), self.value(objects), scale=self.scale)
        fused: Tensor = self.dropout(self.fuse(torch.cat([self.up(context), x], dim=1)))
        return fused


def two_convs(inputs: int, outputs: int) -> nn.Sequential:
    """Two 1x1 convolutions, each with normalisation and activation, as queries and keys are made of pixels."""
    return nn.Sequential(conv_norm_act(inputs, outputs), conv_norm_act(outputs, outputs))


class ObjectContextualRepresentations(nn.Module):
    """Represent each class by the pixels that a coarse segmentation gives it; describe pixels by those they resemble.

    Shape:
        map:    (N, C, H, W), any H, W >= 1, becomes (N, channels, H, W)
        coarse: one more, (N, classes, H, W)

    Args:
        source: what the network has computed so far.
        channels: channels of the pixels' features and of the output. [count]
        keys: width of queries, keys and values. [count]
        dropout: of whole channels of the output; mmsegmentation has none. [probability]

    Source:
        Yuan et al., Object-Contextual Representations for Semantic Segmentation, ECCV 2020, sec. 3.2.
        arXiv:1909.11065

    Deviations:
        Two convolutions go without the bias that the authors' code gives them before a normalisation, which undoes it
        (as in mmsegmentation). The coarse classifier is HRNet's, on the incoming map; the authors' ResNets take it from
        one level below.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        keys: Annotated[int, Range(8, 1024)] = 256,
        dropout: Annotated[float, Range(0.0, 0.9)] = 0.05,
    ) -> None:
        super().__init__()
        width, stride = current(source)
        self.coarse = nn.Sequential(conv_norm_act(width, width), nn.Conv2d(width, source.classes, 1))
        self.pixels = conv_norm_act(width, channels, 3)
        self.objects = ObjectAttention(channels, keys, channels, dropout=dropout)
        self.out = replaced(source, FeatureMap(channels, stride))._replace(coarse=source.coarse + 1)

    def forward(self, f: Features) -> Features:
        x = current(f)
        coarse = self.coarse(x)
        return replaced(f, self.objects(self.pixels(x), coarse))._replace(coarse=(*f.coarse, coarse))
