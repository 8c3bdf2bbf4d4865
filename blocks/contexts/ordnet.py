"""Omni-range dependencies (ORDNet): convolution, attention inside patches, and reweighed attention over the map."""

from __future__ import annotations

from functools import partial
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from blocks.attention import as_map, attend_maps, portion_of, tokens
from blocks.features import FeatureMap
from blocks.layers import conv_norm_act, size_of
from blocks.options import Range
from blocks.windows import over_windows


def attend_and_count(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Average the values, weighed by softmax(query . key) over the keys, and add up what each key received.

    What is received are the columns of the matrix of weights, so that no fused attention can tell it. Memory still
    grows with L + M: queries are taken in portions, whose weights are computed again for the gradient.

    Shape:
        query: (N, L, K)
        key:   (N, M, K)
        value: (N, M, V)
        output: (N, L, V); (N, M), whose mean is L / M
    """
    # As in `attend`: the meta device and tracers need no portions.
    if query.is_meta or torch.compiler.is_compiling():
        return _weighed(query, key, value)
    parts = torch.split(query, portion_of(query, key), dim=1)
    again = partial(checkpoint, _weighed, use_reentrant=False, preserve_rng_state=False)
    run = again if torch.is_grad_enabled() and len(parts) > 1 else _weighed
    found, received = zip(*(run(part, key, value) for part in parts), strict=True)
    return torch.cat(found, dim=1), torch.stack(received).sum(dim=0)


def _weighed(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    weights = (query @ key.transpose(1, 2)).softmax(dim=-1)
    return weights @ value, weights.sum(dim=1, dtype=torch.float32)


class MiddleRange(nn.Module):
    """Self-attention inside patches that tile the map.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        keys: width of queries and keys. [count]
        patches: into how many rows and columns the map is cut. [count]
    """

    def __init__(self, channels: int, *, keys: int, patches: int) -> None:
        super().__init__()
        self.widths = [keys, keys, channels]
        self.grid = (patches, patches)
        self.qkv = nn.Conv2d(channels, sum(self.widths), 1)

    def forward(self, x: Tensor) -> Tensor:
        return over_windows(self.qkv(x), self.grid, self._look)

    def _look(self, x: Tensor) -> Tensor:
        query, key, value = torch.split(x, self.widths, dim=1)
        return attend_maps(query, key, value)


class ReweighedLongRange(nn.Module):
    """Self-attention over the map whose result counts the more, the more attention a pixel received from all others.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        keys: width of queries and keys. [count]
    """

    def __init__(self, channels: int, *, keys: int) -> None:
        super().__init__()
        self.widths = [keys, keys, channels]
        self.qkv = nn.Conv2d(channels, sum(self.widths), 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (tokens(part) for part in torch.split(self.qkv(x), self.widths, dim=1))
        seen, received = attend_and_count(query, key, value)
        return as_map(seen * received.to(seen.dtype).unsqueeze(-1), size_of(x))


class OmniRange(nn.Module):
    """Concatenate short, middle and long range (convolution, patches, reweighed attention), then fuse.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        channels: channels of each range and of the fused map. [count]
        keys: width of queries and keys. [count]
        patches: into how many rows and columns the middle range cuts the map. [count]

    Source:
        Huang et al., ORDNet: Capturing Omni-Range Dependencies for Scene Parsing, IEEE Transactions on Image Processing
        29, 2020. arXiv:2101.03929

    Deviations:
        Unverified: no code was found. The short range is the 3x3 convolution that the other two read; both attend
        without a scale, as non-local blocks do; what a pixel received weighs the result at that pixel, and is 1 on
        average; patches differ by a pixel where they do not share the map evenly.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        keys: Annotated[int, Range(1, 1024)] = 64,
        patches: Annotated[int, Range(1, 32)] = 2,
    ) -> None:
        super().__init__()
        self.short = conv_norm_act(source.channels, channels, 3)
        self.middle = MiddleRange(channels, keys=keys, patches=patches)
        self.long = ReweighedLongRange(channels, keys=keys)
        self.fuse = conv_norm_act(3 * channels, channels)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        short = self.short(x)
        fused: Tensor = self.fuse(torch.cat([short, self.middle(short), self.long(short)], dim=1))
        return fused
