"""Attentional class features (ACFNet)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from blocks.attention import as_map, tokens
from blocks.features import FeatureMap, Features, Shapes, current, replaced
from blocks.layers import conv_norm_act, size_of
from blocks.options import Range


class ClassFeatures(nn.Module):
    """Average the map over each class, and give each pixel the averages of the classes that it may belong to.

    Shape:
        x:      (N, inputs, H, W), any H, W >= 1
        coarse: logits (N, K, H, W) of any K classes
        output: (N, values, H, W)

    Args:
        inputs: channels of the map. [count]
        values: channels of the class centres and of the output. [count]
    """

    def __init__(self, inputs: int, values: int) -> None:
        super().__init__()
        self.reduce = conv_norm_act(inputs, values)
        self.refine = conv_norm_act(values, values)

    def forward(self, x: Tensor, coarse: Tensor) -> Tensor:
        share = coarse.flatten(2).softmax(dim=1)
        # Divided before the sum over pixels, which half precision would not hold. No class is nowhere, but some nearly.
        part = share / share.sum(dim=2, keepdim=True).clamp_min(1e-12)
        centres = part @ tokens(self.reduce(x))
        refined: Tensor = self.refine(as_map(share.transpose(1, 2) @ centres, size_of(x)))
        return refined


class AttentionalClassFeatures(nn.Module):
    """Add to each pixel the centres of the classes that a coarse segmentation sees there, by their probabilities.

    Shape:
        map:    (N, C, H, W), any H, W >= 1, becomes (N, channels, H, W)
        coarse: one more, (N, classes, H, W)

    Args:
        source: what the network has computed so far.
        channels: channels of the base network's features and of the output. [count]
        values: channels of the class centres. [count]
        dropout: of whole channels before the coarse classifier. [probability]

    Source:
        Zhang et al., ACFNet: Attentional Class Feature Network for Semantic Segmentation, ICCV 2019, sec. 3.
        arXiv:1909.09408

    Deviations:
        Unverified: no code of the authors was found; the centres and their mix follow the paper's equations, the base
        network (a 3x3 convolution and a linear coarse classifier) and the fusing 3x3 convolution are the field's usual
        ones. Public ports differ: they take logits for probabilities, and a softmax over the channels of
        max(P F) - P F for the centres.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        values: Annotated[int, Range(8, 2048)] = 512,
        dropout: Annotated[float, Range(0.0, 0.9)] = 0.1,
    ) -> None:
        super().__init__()
        width, stride = current(source)
        self.base = conv_norm_act(width, channels, 3)
        self.coarse = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(channels, source.classes, 1))
        self.attention = ClassFeatures(channels, values)
        self.fuse = conv_norm_act(channels + values, channels, 3)
        self.out = replaced(source, FeatureMap(channels, stride))._replace(coarse=source.coarse + 1)

    def forward(self, f: Features) -> Features:
        x = self.base(current(f))
        coarse = self.coarse(x)
        fused: Tensor = self.fuse(torch.cat([x, self.attention(x, coarse)], dim=1))
        return replaced(f, fused)._replace(coarse=(*f.coarse, coarse))
