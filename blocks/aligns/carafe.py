"""CARAFE: each pixel of the enlarged map is put together from a neighbourhood by a kernel that the content predicts."""

from __future__ import annotations

from functools import partial
from typing import Annotated, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from blocks.aligns.upsampled import UpsampledPyramid
from blocks.features import FeatureMap, Features, Shapes
from blocks.options import Range


class Reassembly(nn.Module):
    """Predict a kernel for every pixel of the enlarged map, and weigh the cells around its source by it.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, scale * H, scale * W)

    Args:
        channels: of the map. [count]
        scale: how much larger the map becomes. [ratio]
        width: channels that kernels are predicted from. [count]
        encoder: side of the convolution that predicts them. [px]
        kernel: side of a kernel; there are zeros beyond the map. [cells]
    """

    def __init__(self, channels: int, scale: int = 2, *, width: int = 64, encoder: int = 3, kernel: int = 5) -> None:
        super().__init__()
        self.scale = scale
        self.kernel = kernel
        self.compress = nn.Conv2d(channels, width, 1)
        self.encode = nn.Conv2d(width, (kernel * scale) ** 2, encoder, padding=encoder // 2)
        nn.init.xavier_uniform_(self.compress.weight)
        nn.init.normal_(self.encode.weight, std=0.001)
        for conv in (self.compress, self.encode):
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        cells, phases, scale = self.kernel**2, self.scale**2, self.scale
        kernels: Tensor = self.encode(self.compress(x)).reshape(batch, cells, phases, height, width).softmax(dim=1)
        around = F.pad(x.permute(0, 2, 3, 1), (0, 0, *[self.kernel // 2] * 4))
        # A small product per cell, so that the neighbourhoods are laid out once and never enlarged.
        around = around.unfold(1, self.kernel, 1).unfold(2, self.kernel, 1).reshape(-1, channels, cells)
        put: Tensor = around @ kernels.permute(0, 3, 4, 1, 2).reshape(-1, cells, phases)
        put = put.reshape(batch, height, width, channels, scale, scale).permute(0, 3, 1, 4, 2, 5)
        return put.reshape(batch, channels, scale * height, scale * width)


class ReassembledPyramid(nn.Module):
    """Sum the pyramid from the top down, each sum enlarged by content-aware reassembly.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, H_0, W_0)

    Args:
        source: what the pyramid holds.
        channels: width of the pyramid and of the map. [count]
        compressed: channels that kernels are predicted from. [count]
        encoder: side of the convolution that predicts them. [px]
        kernel: side of a kernel. [cells]

    Source:
        Wang et al., CARAFE: Content-Aware ReAssembly of FEatures, ICCV 2019, sec. 3. arXiv:1905.02188

    Deviations:
        Only the finest level is smoothed, with normalisation and ReLU, as the others are not read. A map is enlarged
        by 2 or 4, whichever is nearer to the ratio of the strides, and then cropped or, failing that, resized
        bilinearly; between levels of about one stride it is added as it is.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 1024)] = 128,
        compressed: Annotated[int, Range(8, 512)] = 64,
        encoder: Literal[1, 3, 5, 7] = 3,
        kernel: Literal[3, 5, 7] = 5,
    ) -> None:
        super().__init__()
        upsampling = partial(Reassembly, channels, width=compressed, encoder=encoder, kernel=kernel)
        self.pyramid = UpsampledPyramid(source.pyramid, channels, upsampling, align_corners=source.align_corners)
        self.out = source._replace(map=FeatureMap(channels, source.pyramid[0].stride))

    def forward(self, f: Features) -> Features:
        return f._replace(map=self.pyramid(f.pyramid))
