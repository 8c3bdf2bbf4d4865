"""Disentangled non-local block: what pixels have in common pairwise, apart from what makes a pixel matter to all."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from blocks.attention import attend_maps, tokens
from blocks.contexts.non_local import silent_projection
from blocks.features import FeatureMap
from blocks.layers import Flanked
from blocks.options import Range

Variant = Literal["authors", "mmseg"]


class DisentangledBlock(nn.Module):
    """Add to each pixel what it takes from all by whitened likeness, and what all take by one mask.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, inputs, H, W)

    Args:
        inputs: channels of the map. [count]
        keys: channels of queries and keys. [count]
        whitening: subtract from queries and from keys their mean over the pixels.
        temperature: what the products, scaled by the root of `keys`, are divided by. [logits]
        unary: the term that is the same for all pixels.
        variant: `authors` takes values at full width without bias and scales the pairwise term alone by a scalar that
            is 0 at first; `mmseg` takes values of `keys` channels and projects the sum of both terms, to 0 at first.
    """

    def __init__(
        self,
        inputs: int,
        keys: int,
        *,
        whitening: bool = True,
        temperature: float = 0.05,
        unary: bool = True,
        variant: Variant = "authors",
    ) -> None:
        super().__init__()
        self.whitening = whitening
        self.scale = keys**-0.5 / temperature
        if variant == "authors":
            self.value = nn.Conv2d(inputs, inputs, 1, bias=False)
            self.gamma = nn.Parameter(torch.zeros(1))
        else:
            self.value = nn.Conv2d(inputs, keys, 1)
            self.project = silent_projection(keys, inputs)
        self.query = nn.Conv2d(inputs, keys, 1)
        self.key = nn.Conv2d(inputs, keys, 1)
        self.mask = nn.Conv2d(inputs, 1, 1) if unary else None
        self.variant = variant

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.query(x), self.key(x), self.value(x)
        if self.whitening:
            query, key = (each - each.mean(dim=(2, 3), keepdim=True) for each in (query, key))
        pairwise = attend_maps(query, key, value, scale=self.scale)
        if self.variant == "authors":
            pairwise = self.gamma * pairwise
        both = pairwise if self.mask is None else pairwise + pooled(value, self.mask(x))
        added: Tensor = x + (both if self.variant == "authors" else self.project(both))
        return added


def pooled(x: Tensor, mask: Tensor) -> Tensor:
    """Average a map over its pixels, weighed by the softmax of a mask.

    Shape:
        x:      (N, C, H, W)
        mask:   (N, 1, H, W)
        output: (N, C, 1, 1)

    Args:
        x: what is averaged.
        mask: the logits of the weights.
    """
    return (x.flatten(2) @ tokens(mask).softmax(dim=1)).unsqueeze(3)


class DisentangledNonLocal(nn.Module):
    """Let every pixel take from all others by whitened likeness, and add what matters to all of them.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        channels: of the block between the flanks, and of the output. [count]
        reduction: how many times narrower queries and keys are than the block's map. [ratio]
        whitening: subtract from queries and from keys their mean over the pixels.
        temperature: what the scaled products are divided by; 0.05, 0.06 and 0.1 are published. [logits]
        unary: the term that is the same for all pixels.
        variant: `authors` weighs the pairwise term alone by a scalar that is 0 at first, over values at full width;
            `mmseg` projects narrower values of both terms, to 0 at first.

    Source:
        Yin et al., Disentangled Non-Local Neural Networks, ECCV 2020, sec. 4. arXiv:2006.06668

    Deviations:
        None from the authors' code, which divides the whitened products by the root of their width and by a
        temperature, where equation 12 has neither.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        reduction: Annotated[int, Range(1, 64)] = 2,
        whitening: bool = True,
        temperature: Annotated[float, Range(0.001, 10.0)] = 0.05,
        unary: bool = True,
        variant: Variant = "authors",
    ) -> None:
        super().__init__()
        block = DisentangledBlock(
            channels,
            max(1, channels // reduction),
            whitening=whitening,
            temperature=temperature,
            unary=unary,
            variant=variant,
        )
        self.block = Flanked(source.channels, channels, block)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.block(x)
        return found
