"""A top-down pyramid whose maps are enlarged by learned upsampling rather than by a resize."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from blocks.features import FeatureMap
from blocks.layers import conv_norm_act, resize, size_of


def scales(pyramid: Sequence[FeatureMap], most: int = 4) -> list[int]:
    """Say for each level but the deepest how much the next one is enlarged: the nearest power of two, up to `most`."""
    ratios = (deep.stride / fine.stride for fine, deep in itertools.pairwise(pyramid))
    return [min(most, 2 ** max(0, round(math.log2(ratio)))) for ratio in ratios]


def fitted(x: Tensor, size: tuple[int, int], *, scale: int, align_corners: bool) -> Tensor:
    """Bring an enlarged map to a size: crop what rounding left over, resize where that is not all."""
    surplus = [have - want for have, want in zip(size_of(x), size, strict=True)]
    if all(0 <= cells < scale for cells in surplus):
        return x[:, :, : size[0], : size[1]]
    return resize(x, size, align_corners)


class UpsampledPyramid(nn.Module):
    """Project each level, add it, once it has received from the coarser ones, enlarged to the next finer one, smooth.

    Shape:
        levels: (N, C_i, H_i, W_i) of `pyramid`, fine to coarse, any H_i, W_i >= 1
        output: (N, channels, H_0, W_0)

    Args:
        pyramid: what the levels hold.
        channels: width of the pyramid. [count]
        upsampling: makes the module that enlarges a map of `channels` channels by the scale it is given, 2 or 4; none
            is made between levels of about one stride, which are added as they come.
        align_corners: how maps are resized whose size is no multiple.
    """

    def __init__(
        self,
        pyramid: Sequence[FeatureMap],
        channels: int,
        upsampling: Callable[[int], nn.Module],
        *,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.scales = scales(pyramid)
        self.laterals = nn.ModuleList(nn.Conv2d(level.channels, channels, 1) for level in pyramid)
        self.upsampling = nn.ModuleList(upsampling(scale) if scale > 1 else nn.Identity() for scale in self.scales)
        self.smooth = conv_norm_act(channels, channels, 3)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        *finer, x = (lateral(level) for lateral, level in zip(self.laterals, levels, strict=True))
        steps = zip(finer, self.upsampling, self.scales, strict=True)
        for level, upsample, scale in reversed(list(steps)):
            x = level + fitted(upsample(x), size_of(level), scale=scale, align_corners=self.align_corners)
        smoothed: Tensor = self.smooth(x)
        return smoothed
