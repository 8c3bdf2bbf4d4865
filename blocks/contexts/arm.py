"""Attention refinement and global average: the end of BiSeNet's context path."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from blocks.contexts.aspp import ImagePooling
from blocks.features import FeatureMap
from blocks.layers import conv_norm_act
from blocks.options import Range


class AttentionRefinement(nn.Module):
    """Convolve a map and weigh its channels by a gate that its own mean decides.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, H, W)

    Args:
        inputs: channels that come in. [count]
        outputs: channels that go out. [count]
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv_norm_act(inputs, outputs, 3)
        self.gate = conv_norm_act(outputs, outputs, act=None)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.gate(x.mean(dim=(2, 3), keepdim=True)))


class ContextRefinement(nn.Module):
    """Refine a map by a gate on its channels, and add what its mean says to every pixel.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        channels: channels of the refined map. [count]
        global_average: add the mean of the incoming map, convolved; without it the gate stands alone.

    Source:
        Yu et al., BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation, ECCV 2018, sec. 3.2.
        arXiv:1808.00897

    Deviations:
        The second refinement, of the map at stride 16, and the way up belong to an align. Gate and mean train at batch
        1, where the authors' normalisation fails: it then uses its running statistics.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        channels: Annotated[int, Range(8, 2048)] = 128,
        global_average: bool = True,
    ) -> None:
        super().__init__()
        self.mean = ImagePooling(source.channels, channels) if global_average else None
        self.refine = AttentionRefinement(source.channels, channels)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        refined: Tensor = self.refine(x)
        return refined if self.mean is None else refined + self.mean(x)
