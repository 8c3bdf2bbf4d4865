"""Guided upsampling: a fine level says for each pixel from where the deep level is read."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.aligns.sampling import regular_grid, sampled
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, resize, size_of
from blocks.options import Range


class GuidanceModule(nn.Module):
    """Fuse a fine and a deep map and tell from them, for each fine pixel, how far off the deep one is to be read.

    Shape:
        fine:   (N, fine, H, W), any H, W >= 1
        deep:   (N, deep, h, w), any h, w >= 1
        output: (N, H, W, 2) twice: the regular grid, and the offsets to add; x before y, -1 to 1 across the map

    Args:
        fine: channels of the fine map. [count]
        deep: channels of the deep map. [count]
        align_corners: how the deep map is resized, and what the grid means.
    """

    def __init__(self, fine: int, deep: int, *, align_corners: bool = True) -> None:
        super().__init__()
        self.align_corners = align_corners
        half, quarter = max(1, deep // 2), max(1, deep // 4)
        self.fine = conv_norm_act(fine, deep, act=None)
        self.deep = conv_norm_act(deep, deep, 3, dilation=2, act=None)
        self.offsets = nn.Sequential(
            conv_norm_act(deep, half, 3),
            conv_norm_act(half, quarter, 3),
            conv_norm_act(quarter, 2, 3, act=None),
        )

    def forward(self, fine: Tensor, deep: Tensor) -> tuple[Tensor, Tensor]:
        size = height, width = size_of(fine)
        deep = resize(deep, size, self.align_corners)
        pixels: Tensor = self.offsets(F.relu(self.fine(fine) + self.deep(deep)))
        # Between the corners' centres lies one pixel less than between the corners.
        less = 1 if self.align_corners else 0
        sides = torch.tensor([max(1, width - less), max(1, height - less)], dtype=torch.float32, device=pixels.device)
        grid = regular_grid(size, align_corners=self.align_corners, device=pixels.device)
        return grid.expand(fine.shape[0], -1, -1, -1), pixels.float().permute(0, 2, 3, 1) / (sides / 2)


class GuidedUpsampling(nn.Module):
    """Narrow the deepest level and bring it to the finest one, read at regular places plus guided offsets.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, H_0, W_0)

    Args:
        source: what the pyramid holds; one level alone guides itself.
        channels: width of the narrowed level, of the guidance and of the map. [count]

    Source:
        Mazzini, Guided Upsampling Network for Real-Time Semantic Segmentation, BMVC 2018, sec. 3.2. arXiv:1807.07466

    Deviations:
        Unverified: no code of the author is public. The guidance module is that of a third party, a fusion as in ICNet
        and three convolutions; the paper asks for one that gives offsets and leaves its layers open. There corners are
        always aligned; here they are where the network's are. The map is upsampled, where the paper upsamples its
        class scores; the head classifies it after.
    """

    version: ClassVar[int] = 1

    def __init__(self, source: Shapes, *, channels: Annotated[int, Range(8, 1024)] = 128) -> None:
        super().__init__()
        finest, deepest = source.pyramid[0], source.pyramid[-1]
        self.align_corners = source.align_corners
        self.narrow = conv_norm_act(deepest.channels, channels)
        self.guidance = GuidanceModule(finest.channels, channels, align_corners=source.align_corners)
        self.out = source._replace(map=FeatureMap(channels, finest.stride))

    def forward(self, f: Features) -> Features:
        deep = self.narrow(f.pyramid[-1])
        grid, offsets = self.guidance(f.pyramid[0], deep)
        return f._replace(map=sampled(deep, grid + offsets, align_corners=self.align_corners))
