"""ICNet's cascade feature fusion: deep levels join the finer ones through dilated convolutions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from blocks.aligns.top_down import deepest
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, relu, resize, size_of
from blocks.options import Range

Variant = Literal["paper", "mmseg"]


class CascadeFusion(nn.Module):
    """Resize a coarse map to a fine one, convolve both and add.

    Shape:
        coarse: (N, coarse, h, w), any h, w >= 1
        fine:   (N, fine, H, W), any H, W >= 1
        output: (N, channels, H, W), and what an auxiliary classifier reads: of `paper` the resized coarse map, of
            `mmseg` the same convolved

    Args:
        coarse: channels of the coarse map. [count]
        fine: channels of the fine map. [count]
        channels: channels of the sum. [count]
        variant: whether a ReLU follows the sum alone (`paper`) or both convolutions too (`mmseg`).
        align_corners: how the coarse map is resized.
    """

    def __init__(
        self, coarse: int, fine: int, channels: int, *, variant: Variant = "paper", align_corners: bool = False
    ) -> None:
        super().__init__()
        self.variant = variant
        self.align_corners = align_corners
        act = None if variant == "paper" else relu
        self.coarse = conv_norm_act(coarse, channels, 3, dilation=2, act=act)
        self.fine = conv_norm_act(fine, channels, act=act)

    def forward(self, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        resized = resize(coarse, size_of(fine), self.align_corners)
        convolved = self.coarse(resized)
        fused = F.relu(convolved + self.fine(fine))
        return fused, resized if self.variant == "paper" else convolved


class Cascade(nn.Module):
    """Fuse the deepest level into the next finer one, the result into the next, and so on.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, H_j, W_j) of the finest level taken
        taps:    cff_0, cff_1 ...: what auxiliary classifiers read, from the deep end on, for losses

    Args:
        source: what the pyramid holds; one level alone is fused with itself.
        channels: width of every fusion and of the map. [count]
        levels: how many of the deepest levels are taken: the paper's three are branches of one encoder at a quarter, a
            half and the whole of the image; fewer where there are fewer. [count]
        variant: whether a ReLU follows each sum alone (`paper`) or the convolutions before it too (`mmseg`); the taps
            come before (`paper`) or after (`mmseg`) the dilated convolution.

    Source:
        Zhao et al., ICNet for Real-Time Semantic Segmentation on High-Resolution Images, ECCV 2018, sec. 3.3.
        arXiv:1704.08545

    Deviations:
        Auxiliary classifiers belong to losses, which find what they read in the taps. The twofold resize before the
        classifier is the head's.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 128,
        levels: Annotated[int, Range(2, 6)] = 3,
        variant: Variant = "paper",
    ) -> None:
        super().__init__()
        self.levels = levels
        deep, *finer = deepest(source.pyramid, levels)
        self.fusions, taps, coarse = nn.ModuleList(), dict(source.taps), deep.channels
        for place, level in enumerate(finer):
            fusion = CascadeFusion(
                coarse, level.channels, channels, variant=variant, align_corners=source.align_corners
            )
            self.fusions.append(fusion)
            taps[f"cff_{place}"] = FeatureMap(coarse if variant == "paper" else channels, level.stride)
            coarse = channels
        self.out = source._replace(map=FeatureMap(channels, finer[-1].stride), taps=taps)

    def forward(self, f: Features) -> Features:
        x, *finer = deepest(f.pyramid, self.levels)
        taps = {}
        for place, (fusion, level) in enumerate(zip(self.fusions, finer, strict=True)):
            x, taps[f"cff_{place}"] = fusion(x, level)
        return f._replace(map=x, taps={**f.taps, **taps})
