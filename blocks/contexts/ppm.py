"""Pyramid pooling (PSPNet)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.errors import BlockError, law
from blocks.features import FeatureMap
from blocks.layers import conv_norm_act, resize, size_of
from blocks.options import Range


class PyramidBranches(nn.Module):
    """A map beside its own averages over b x b grids: pyramid pooling without the convolution that fuses it.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, inputs + len(bins) * width, H, W), the map first

    Args:
        inputs: channels of the map. [count]
        width: channels of a branch. [count]
        bins: grid sizes to average over, one branch each. [cells per side]
        align_corners: how the averages are resized.
    """

    def __init__(self, inputs: int, width: int, bins: Sequence[int], *, align_corners: bool) -> None:
        super().__init__()
        self.bins = tuple(bins)
        self.align_corners = align_corners
        self.branches = nn.ModuleList(conv_norm_act(inputs, width) for _ in bins)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for bins, branch in zip(self.bins, self.branches, strict=True):
            maps.append(resize(branch(F.adaptive_avg_pool2d(x, bins)), size_of(x), self.align_corners))
        return torch.cat(maps, dim=1)


class PyramidPooling(nn.Module):
    """Concatenate a map with its own averages over b x b grids, then fuse with a 3x3 convolution.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        align_corners: how the averages are resized.
        channels: channels of the fused map. [count]
        bins: grid sizes to average over, one branch each. [cells per side]
        branch: width of a branch: `split` shares `source.channels` out among the bins (the authors' code), `full`
            gives each `channels` (mmsegmentation).

    Raises:
        BlockError: `split`, and there are more bins than `source.channels`.

    Source:
        Zhao et al., Pyramid Scene Parsing Network, CVPR 2017, sec. 3.2. arXiv:1612.01105

    Deviations:
        The dropout of 0.1 after the fusion is the head's. The branch of one bin trains at batch 1, where the authors'
        normalisation fails: it then uses its running statistics. The authors resize with `align_corners=True`; here the
        network decides.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        align_corners: bool = False,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        bins: Annotated[tuple[int, ...], Range(1, 32)] = (1, 2, 3, 6),
        branch: Literal["split", "full"] = "split",
    ) -> None:
        super().__init__()
        width = source.channels // len(bins) if branch == "split" else channels
        if width < 1:
            got = {"source.channels": source.channels, "bins": bins}
            raise BlockError(law("ppm", "a channel for every bin", got, "Use fewer bins or branch: full"))
        self.pyramid = PyramidBranches(source.channels, width, bins, align_corners=align_corners)
        self.fuse = conv_norm_act(source.channels + len(bins) * width, channels, 3)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.fuse(self.pyramid(x))
        return fused
