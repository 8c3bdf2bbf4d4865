"""SFNet's flow alignment: each coarser level is warped onto the finer one by a semantic flow between the two."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from blocks.aligns.sampling import regular_grid, sampled
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, resize, size_of
from blocks.options import Range


class FlowAlignment(nn.Module):
    """Find the flow from a fine map to a coarse one, and read the coarse one where the flow leads (FAM).

    Shape:
        fine:   (N, channels, H, W), any H, W >= 1
        coarse: (N, channels, h, w), any h, w >= 1
        output: (N, channels, H, W)

    Args:
        channels: of both maps. [count]
        width: channels that each is narrowed to before the flow is found. [count]
        align_corners: how the narrowed coarse map is resized, and what the places that are read mean.
    """

    def __init__(self, channels: int, width: int, *, align_corners: bool = True) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.coarse = nn.Conv2d(channels, width, 1, bias=False)
        self.fine = nn.Conv2d(channels, width, 1, bias=False)
        self.flow = nn.Conv2d(2 * width, 2, 3, padding=1, bias=False)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        size = height, width = size_of(fine)
        narrowed = resize(self.coarse(coarse), size, self.align_corners)
        flow = self.flow(torch.cat([narrowed, self.fine(fine)], dim=1)).float().permute(0, 2, 3, 1)
        grid = regular_grid(size, align_corners=self.align_corners, device=flow.device)
        sides = torch.tensor([width, height], dtype=torch.float32, device=flow.device)
        return sampled(coarse, grid + flow / sides, align_corners=self.align_corners)


class FlowPyramid(nn.Module):
    """Warp each level, once it has received from the coarser ones, onto the next finer one, add, and fuse all levels.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, H_0, W_0)

    Args:
        source: what the pyramid holds.
        channels: width of the pyramid and of the map: 128 over ResNet-18, 256 over ResNet-50 and 101. The deepest level
            is projected to it unless it has that width already, as a context's `channels` can give it. [count]

    Source:
        Li et al., Semantic Flow for Fast and Accurate Scene Parsing, ECCV 2020, sec. 3. arXiv:2002.10120

    Deviations:
        The pyramid pooling of the deepest level is the context ppm. Corners are aligned where the network's are; the
        authors' always are. Auxiliary classifiers on the pyramid belong to losses. Projections carry a bias before
        their normalisation, as in the authors' code.
    """

    version: ClassVar[int] = 1

    def __init__(self, source: Shapes, *, channels: Annotated[int, Range(8, 1024)] = 128) -> None:
        super().__init__()
        *finer, deepest = (level.channels for level in source.pyramid)
        self.align_corners = source.align_corners
        self.project: nn.Module = nn.Identity()
        if deepest != channels:
            self.project = conv_norm_act(deepest, channels, bias=True)
        self.laterals = nn.ModuleList(conv_norm_act(width, channels, bias=True) for width in finer)
        self.smooth = nn.ModuleList(conv_norm_act(channels, channels, 3) for _ in finer)
        self.warps = nn.ModuleList(
            FlowAlignment(channels, channels // 2, align_corners=source.align_corners) for _ in finer
        )
        self.fuse = conv_norm_act(len(source.pyramid) * channels, channels, 3)
        self.out = source._replace(map=FeatureMap(channels, source.pyramid[0].stride))

    def forward(self, f: Features) -> Features:
        *finer, deepest = f.pyramid
        x = self.project(deepest)
        levels = [x]
        steps = zip(finer, self.laterals, self.smooth, self.warps, strict=True)
        for level, lateral, smooth, warp in reversed(list(steps)):
            own = lateral(level)
            x = own + warp(own, x)
            levels.append(smooth(x))
        size = size_of(f.pyramid[0])
        resized = [resize(level, size, self.align_corners) for level in reversed(levels)]
        return f._replace(map=self.fuse(torch.cat(resized, dim=1)))
