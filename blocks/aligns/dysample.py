"""DySample: upsampling as point sampling, every pixel of the enlarged map at a place that the content shifts."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.aligns.sampling import regular_grid, sampled
from blocks.aligns.upsampled import UpsampledPyramid, scales
from blocks.errors import BlockError, law
from blocks.features import FeatureMap, Features, Shapes
from blocks.options import Range

Style = Literal["lp", "pl"]


class DynamicSampling(nn.Module):
    """Shift the places that a bilinear resize reads, by offsets of each group of channels, and read there.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, scale * H, scale * W)

    Args:
        channels: of the map. [count]
        scale: how much larger the map becomes. [ratio]
        style: offsets by a linear layer and then a pixel shuffle (`lp`), or the other way round (`pl`), which takes
            fewer weights.
        groups: parts of the channels that are read at places of their own. [count]
        dynamic: whether the content also scopes the offsets, up to half a cell; else a quarter is the scale of all.
    """

    def __init__(
        self, channels: int, scale: int = 2, *, style: Style = "lp", groups: int = 4, dynamic: bool = False
    ) -> None:
        super().__init__()
        self.scale = scale
        self.style = style
        self.groups = groups
        phases = scale**2
        inputs, outputs = (channels // phases, 2 * groups) if style == "pl" else (channels, 2 * groups * phases)
        self.offset = nn.Conv2d(inputs, outputs, 1)
        nn.init.normal_(self.offset.weight, std=0.001)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)
        self.scope: nn.Conv2d | None = None
        if dynamic:
            self.scope = nn.Conv2d(inputs, outputs, 1, bias=False)
            nn.init.zeros_(self.scope.weight)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        size = (self.scale * height, self.scale * width)
        grid = regular_grid(size, align_corners=False, device=x.device)
        cells = torch.tensor([width, height], dtype=grid.dtype, device=x.device)
        shift = self._offsets(x).to(grid.dtype).reshape(batch, 2, self.groups, *size)
        at = grid[:, None] + shift.permute(0, 2, 3, 4, 1) / (cells / 2)
        # Groups are read as if they were images of their own.
        apart = x.reshape(batch * self.groups, channels // self.groups, height, width)
        read = sampled(apart, at.flatten(0, 1), align_corners=False, padding="border")
        return read.reshape(batch, channels, *size)

    def _offsets(self, x: Tensor) -> Tensor:
        """How far from the regular place each group reads, x before y, in cells of the map that comes in."""
        if self.style == "pl":
            x = F.pixel_shuffle(x, self.scale)
        offsets: Tensor = self.offset(x)
        offsets = offsets * (0.25 if self.scope is None else 0.5 * self.scope(x).sigmoid())
        return offsets if self.style == "pl" else F.pixel_shuffle(offsets, self.scale)


class DynamicallySampledPyramid(nn.Module):
    """Sum the pyramid from the top down, each sum enlarged by dynamic sampling.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, H_0, W_0)

    Args:
        source: what the pyramid holds.
        channels: width of the pyramid and of the map. [count]
        style: offsets by a linear layer and then a pixel shuffle (`lp`), or the other way round (`pl`).
        groups: parts of the channels that are read at places of their own; where they do not divide the channels, as
            many as divide both. [count]
        scope: of the offsets: a quarter cell (`static`), or as the content says, up to half a cell (`dynamic`: the
            paper's DySample+ and DySample-S+).

    Raises:
        BlockError: `pl` cannot shuffle so many channels.

    Source:
        Liu et al., Learning to Upsample by Learning to Sample, ICCV 2023, sec. 3. arXiv:2308.15085

    Deviations:
        Only the finest level is smoothed, with normalisation and ReLU. A map is enlarged by 2 or 4, whichever is nearer
        to the ratio of the strides, and then cropped or, failing that, resized bilinearly; between levels of about one
        stride it is added as it is. Cells are read by their centres even where the network aligns corners.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 1024)] = 128,
        style: Style = "lp",
        groups: Annotated[int, Range(1, 32)] = 4,
        scope: Literal["static", "dynamic"] = "static",
    ) -> None:
        super().__init__()
        phases = max(scales(source.pyramid), default=1) ** 2
        if style == "pl" and channels % phases:
            got = {"channels": channels, "style": style}
            raise BlockError(law("dysample", f"channels that {phases} divides", got, "Change them, or use style: lp"))
        upsampling = partial(
            DynamicSampling, channels, style=style, groups=math.gcd(groups, channels), dynamic=scope == "dynamic"
        )
        self.pyramid = UpsampledPyramid(source.pyramid, channels, upsampling, align_corners=source.align_corners)
        self.out = source._replace(map=FeatureMap(channels, source.pyramid[0].stride))

    def forward(self, f: Features) -> Features:
        return f._replace(map=self.pyramid(f.pyramid))
