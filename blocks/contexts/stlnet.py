"""Statistical texture of low-level features (STLNet): which intensities occur how often, and beside which others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.attention import attend, cells, joined
from blocks.errors import BlockError, law
from blocks.features import FeatureMap, Features, Shapes, current, replaced
from blocks.layers import conv_norm_act, leaky, relu, resize, size_of
from blocks.options import Range

_PAIRED_LEVELS = 8


class QuantizeCount1d(nn.Module):
    """Quantise how alike each pixel and the mean of the map are, and encode how often each level occurs.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, keys, levels), the encoded counts; (N, H * W, levels), the quantised pixels

    Args:
        inputs: channels of the map. [count]
        keys: channels of an encoding. [count]
        levels: of the quantisation, at least 2. [count]
    """

    def __init__(self, inputs: int, keys: int, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.local = conv_norm_act(inputs, inputs, 3, act=leaky)
        self.reduce = nn.Conv2d(inputs, keys, 1, bias=False)
        self.encode = _encoder(2, keys)
        self.fuse = conv_norm_act(2 * keys, keys)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # In half precision, neighbouring levels could not be told apart.
        x = self.reduce(self.local(x)).float()
        mean = F.adaptive_avg_pool2d(x, 1)
        centres, quantised = _quantised(_likeness(x, mean).flatten(1), self.levels)
        counts = quantised.sum(dim=1)
        counts = counts / counts.sum(dim=1, keepdim=True).clamp_min(torch.finfo(counts.dtype).tiny)
        encoded = self.encode(torch.stack([centres, counts], dim=1).unsqueeze(-1))
        encoded = self.fuse(torch.cat([encoded, mean.expand_as(encoded)], dim=1))
        return encoded.squeeze(-1), quantised


class QuantizeCount2d(nn.Module):
    """Count in each cell of a grid which levels lie beside which, one pixel down and right, and encode the counts.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, keys, bins, bins)

    Args:
        inputs: channels of the map. [count]
        keys: channels of an encoding. [count]
        bins: cells per side. [count]
        levels: of the quantisation, at least 2. [count]
    """

    def __init__(self, inputs: int, keys: int, bins: int, levels: int = _PAIRED_LEVELS) -> None:
        super().__init__()
        self.grid = (bins, bins)
        self.levels = levels
        self.encode = _encoder(3, keys)
        self.fuse = nn.Sequential(conv_norm_act(inputs + keys, keys), conv_norm_act(keys, keys, act=None))

    def forward(self, x: Tensor) -> Tensor:
        x = self._divisible(x).float()
        mean = cells(F.adaptive_avg_pool2d(x, self.grid), self.grid)
        likeness = _likeness(cells(x, self.grid), mean)
        centres, quantised = _quantised(likeness.flatten(1), self.levels)
        counts = _paired(quantised.reshape(*likeness.shape, self.levels))
        later, earlier = (c.expand_as(counts) for c in (centres.unsqueeze(1), centres.unsqueeze(2)))
        encoded = self.encode(torch.stack([later, earlier, counts], dim=1))
        encoded = self.fuse(torch.cat([mean.expand(-1, -1, self.levels, self.levels), encoded], dim=1))
        return joined(encoded.mean(dim=(2, 3), keepdim=True), self.grid)

    def _divisible(self, x: Tensor) -> Tensor:
        """Shrink a map to multiples of the levels, as published, and then to multiples of the cells."""
        sides = (side // self.levels * self.levels or side for side in size_of(x))
        height, width = (max(1, side // bins) * bins for side, bins in zip(sides, self.grid, strict=True))
        return x if size_of(x) == (height, width) else F.adaptive_avg_pool2d(x, (height, width))


class TextureEnhance(nn.Module):
    """Rebuild a map from what its levels make of each other, as equalising a histogram does.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: channels of the map. [count]
        keys: channels of a level's encoding. [count]
        levels: of the quantisation, at least 2. [count]
    """

    def __init__(self, channels: int, keys: int, levels: int) -> None:
        super().__init__()
        self.count = QuantizeCount1d(channels, keys, levels)
        self.key, self.query, self.value = (nn.Linear(keys, keys, bias=False) for _ in range(3))
        self.rebuild = conv_norm_act(keys, channels)

    def forward(self, x: Tensor) -> Tensor:
        encoded, quantised = self.count(x)
        nodes = encoded.transpose(1, 2).contiguous()
        # The authors take the softmax over queries: each key asks.
        enhanced = attend(self.key(nodes), self.query(nodes), self.value(nodes), scale=1.0)
        enhanced = self.rebuild(enhanced.transpose(1, 2).unsqueeze(-1)).squeeze(-1)
        rebuilt: Tensor = enhanced @ quantised.transpose(1, 2)
        return rebuilt.reshape(x.shape)


class PyramidTexture(nn.Module):
    """Describe a map by the pairs of levels that occur in it as a whole and in the cells of finer and finer grids.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        inputs: channels that come in. [count]
        channels: channels that are counted in, and that go out. [count]
        keys: channels of a cell's encoding. [count]
        bins: grids to count in, one branch each. [cells per side]
        align_corners: how the cells are resized.
    """

    def __init__(self, inputs: int, channels: int, keys: int, bins: Sequence[int], *, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.reduce = nn.Conv2d(inputs, channels, 1, bias=False)
        self.counts = nn.ModuleList(QuantizeCount2d(channels, keys, each) for each in bins)
        self.fuse = conv_norm_act(len(bins) * keys, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        maps = [resize(count(x), size_of(x), self.align_corners) for count in self.counts]
        fused: Tensor = self.fuse(torch.cat(maps, dim=1))
        return fused


class StatisticalTexture(nn.Module):
    """Enhance the texture of a map, then describe what is there: both are put before the map.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, 3 * channels, H, W): description, enhanced map, map

    Args:
        inputs: channels that come in. [count]
        channels: channels of each part of the output; encodings have half. [count]
        levels: at which the whole map is quantised. [count]
        bins: grids in which pairs of levels are counted. [cells per side]
        align_corners: how the cells of those are resized.
    """

    def __init__(
        self,
        inputs: int,
        channels: int = 256,
        *,
        levels: int = 128,
        bins: Sequence[int] = (1, 2, 3, 6),
        align_corners: bool,
    ) -> None:
        super().__init__()
        keys = max(2, channels // 2)
        self.reduce = conv_norm_act(inputs, channels)
        self.enhance = TextureEnhance(channels, keys, levels)
        self.describe = PyramidTexture(2 * channels, channels, keys, bins, align_corners=align_corners)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        x = torch.cat([self.enhance(x), x], dim=1)
        return torch.cat([self.describe(x), x], dim=1)


class StatisticalTextureContext(nn.Module):
    """Learn the statistics of low-level texture and put them beside the map.

    Shape:
        input:  Features with the map of the slot, (N, C, H, W), any H, W >= 1
        output: the same with (N, channels, H, W) in its place

    Args:
        source: what reaches the stage.
        channels: channels of the fused map. [count]
        sources: how many of the finest levels of the pyramid texture is read from; finer ones are averaged to the size
            of the coarsest. [count]
        texture: channels of each of the three texture maps; encodings have half. [count]
        levels: at which texture is quantised; pairs of neighbours at 8, as published. [count]
        bins: grids in which pairs are counted. [cells per side]

    Raises:
        BlockError: there is no pyramid.

    Source:
        Zhu et al., Learning Statistical Texture for Semantic Segmentation, CVPR 2021, sec. 3. arXiv:2103.04133

    Deviations:
        The code counts pairs only where H and W over 8, rounded down, are divisible by 3, and divides by zero where all
        pixels are alike; the same numbers come out otherwise. Here a map is shrunk further, to multiples of each grid
        (one smaller than the grid is stretched), and nothing is counted where there is nothing. The code's levels reach
        a whole step to both sides, so that neighbours overlap; the paper's reach half. The published head runs the
        pyramid of DeepLabV3 on the high-level map first: have `aspp` as context and this as refine.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 256,
        sources: Annotated[int, Range(1, 8)] = 2,
        texture: Annotated[int, Range(8, 1024)] = 256,
        levels: Annotated[int, Range(2, 1024)] = 128,
        bins: Annotated[tuple[int, ...], Range(1, 32)] = (1, 2, 3, 6),
    ) -> None:
        super().__init__()
        low = source.pyramid[:sources]
        if not low:
            raise BlockError(law("stlnet", "low-level features", {"pyramid": ()}, "Put a backbone before it"))
        self.sources = len(low)
        self.align_corners = source.align_corners
        self.texture = StatisticalTexture(
            sum(level.channels for level in low), texture, levels=levels, bins=bins, align_corners=source.align_corners
        )
        given = current(source)
        self.fuse = conv_norm_act(given.channels + 3 * texture, channels, 3)
        self.out = replaced(source, FeatureMap(channels, given.stride))

    def forward(self, f: Features) -> Features:
        x = current(f)
        low = f.pyramid[: self.sources][::-1]
        joint = torch.cat([self._fitted(level, size_of(low[0])) for level in low], dim=1)
        texture = self._fitted(self.texture(joint), size_of(x))
        return replaced(f, self.fuse(torch.cat([x, texture], dim=1)))

    def _fitted(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        finer = all(side >= wanted for side, wanted in zip(size_of(x), size, strict=True))
        return F.adaptive_avg_pool2d(x, size) if finer else resize(x, size, self.align_corners)


def _encoder(inputs: int, keys: int) -> nn.Sequential:
    half = keys // 2
    hidden, encoded = nn.Conv2d(inputs, half, 1, bias=False), nn.Conv2d(half, keys, 1, bias=False)
    return nn.Sequential(hidden, leaky(), encoded, relu())


def _likeness(x: Tensor, mean: Tensor) -> Tensor:
    """Cosine between each pixel and the mean: (N, C, H, W) and (N, C, 1, 1) to (N, H, W)."""
    return (F.normalize(mean, dim=1) * F.normalize(x, dim=1)).sum(dim=1)


def _quantised(x: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Encode each value by the levels less than one step away: 1 - distance there, 0 elsewhere.

    Where all values are the same, a step is 0 and no level is near.

    Shape:
        input:  (N, L), each row on levels of its own
        output: (N, levels), the centres of equal parts of the row's range; (N, L, levels), the encodings
    """
    low, high = x.amin(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)
    place = (2 * torch.arange(levels, device=x.device, dtype=x.dtype) + 1) / (2 * levels)
    centres = place * (high - low) + low
    near = 1 - (centres.unsqueeze(1) - x.unsqueeze(2)).abs()
    step = centres[:, 1:2] - centres[:, :1]
    return centres, near * (near > 1 - step.unsqueeze(2))


def _paired(quantised: Tensor) -> Tensor:
    """Share of each pair of levels among all pairs: (N, H, W, levels) to (N, levels, levels).

    The first index is of a pixel's level, the second of that below and to the right of it.
    """
    earlier, later = quantised[:, :-1, :-1].flatten(1, 2), quantised[:, 1:, 1:].flatten(1, 2)
    counts = (earlier.transpose(1, 2) @ later).float()
    return counts / (counts.sum(dim=(1, 2), keepdim=True) + 1e-6)
