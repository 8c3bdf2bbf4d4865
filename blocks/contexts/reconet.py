"""Tensor low-rank reconstruction (RecoNet)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from blocks.features import FeatureMap
from blocks.layers import conv_norm_act, resize, size_of
from blocks.options import Range

Variant = Literal["trained", "released"]


class TensorReconstruction(nn.Module):
    """Weigh a map by a sum of rank-1 tensors, made of its means along each direction, and put that beside the map.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, 2 * channels, H, W), the map first

    Args:
        channels: channels of the map. [count]
        size: height and width at which its vectors are generated; those of other maps are resized. [px]
        rank: how many rank-1 tensors there are. [count]
        align_corners: how vectors are resized.
        variant: see `LowRankContext`.
    """

    def __init__(
        self, channels: int, size: tuple[int, int], rank: int, *, align_corners: bool, variant: Variant = "trained"
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.swapped = variant == "released"
        self.channel, self.height, self.width = (_generators(length, rank) for length in (channels, *size))
        self.mixing = nn.Parameter(torch.ones(rank)) if variant == "trained" else None

    def forward(self, x: Tensor) -> Tensor:
        height, width = size_of(x)
        rows, columns = x.mean(dim=(1, 3)), x.mean(dim=(1, 2))
        if self.swapped:
            rows, columns = columns, rows
        along_channels = self._fragments(self.channel, x.mean(dim=(2, 3)), x.shape[1])
        along_height = self._fragments(self.height, rows, height)
        along_width = self._fragments(self.width, columns, width)
        if self.mixing is None:
            along_channels = along_channels / len(self.channel)
        else:
            along_channels = along_channels * self.mixing.softmax(dim=0).unsqueeze(-1)
        # The sum over ranks is a product of matrices: no rank-1 tensor is ever as large as the map.
        areas = (along_height.unsqueeze(-1) * along_width.unsqueeze(-2)).flatten(2)
        attention = (along_channels.transpose(1, 2) @ areas).reshape(x.shape)
        return torch.cat([x, torch.relu(x * attention)], dim=1)

    def _fragments(self, generators: nn.ModuleList, mean: Tensor, length: int) -> Tensor:
        """Generate one vector a rank: (N, any length) to (N, rank, length)."""
        built = cast(nn.Linear, generators[0]).in_features
        mean = self._resized(mean.unsqueeze(1), built).squeeze(1)
        fragments = torch.stack([generate(mean) for generate in generators], dim=1).sigmoid()
        return self._resized(fragments, length)

    def _resized(self, vectors: Tensor, length: int) -> Tensor:
        return resize(vectors.unsqueeze(-1), (length, 1), self.align_corners).squeeze(-1)


def _generators(length: int, rank: int) -> nn.ModuleList:
    generators = [nn.Linear(length, length, bias=False) for _ in range(rank)]
    for generate in generators:
        nn.init.kaiming_normal_(generate.weight, mode="fan_out")
    return nn.ModuleList(generators)


class LowRankContext(nn.Module):
    """Weigh channels, rows and columns at once, by an attention of the map's own shape that is a sum of rank-1 tensors.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        size: of the image: rows and columns are generated at its height and width over the map's stride. [px]
        align_corners: how rows and columns of other sizes are resized.
        channels: channels of the weighed map and of the output. [count]
        rank: how many rank-1 tensors there are. [count]
        variant: `trained` as the paper has it: weights of the sum are learned, vectors along the height come from means
            over the width. `released` as the authors' code runs: equal weights, and the two axes swapped.

    Source:
        Chen et al., Tensor Low-Rank Reconstruction for Semantic Segmentation, ECCV 2020, sec. 3. arXiv:2008.00490

    Deviations:
        The authors' code runs at one square size and at 512 channels. Generators keep the size that they were built
        for, as published; at another one the vectors are resized, before and after. The weights of the sum are no
        parameter in the code, and equal at all times: `trained` learns them as a softmax. The dropout of 0.05 at the
        end is the head's.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        size: tuple[int, int],
        align_corners: bool = False,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        rank: Annotated[int, Range(1, 128)] = 64,
        variant: Variant = "trained",
    ) -> None:
        super().__init__()
        height, width = (-(-side // source.stride) for side in size)
        self.before = conv_norm_act(source.channels, channels, 3)
        self.reconstruction = TensorReconstruction(
            channels, (height, width), rank, align_corners=align_corners, variant=variant
        )
        self.fuse = conv_norm_act(2 * channels, channels)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.fuse(self.reconstruction(self.before(x)))
        return fused
