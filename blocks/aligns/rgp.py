"""RGPNet's ladder: on its way down the pyramid, an adaptor lets each level meet its finer and its coarser neighbour."""

from __future__ import annotations

import itertools
from typing import Annotated, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import BatchNorm, conv_norm_act, resize, size_of
from blocks.options import Range


class TwiceConvolved(nn.Module):
    """Add to a map what one 3x3 convolution, applied twice with a normalisation of its own each time, makes of it.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        dropout: of whole channels between the two. [probability]
    """

    def __init__(self, channels: int, *, dropout: float = 0.25) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.first = BatchNorm(channels)
        self.dropout = nn.Dropout2d(dropout)
        self.second = BatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        change = self.dropout(F.relu(self.first(self.conv(x))))
        return F.relu(x + self.second(self.conv(change)))


class AdaptorLadder(nn.Module):
    """Go down the pyramid: a level, the next finer one halved and the result from above doubled add up to a block.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1
        map:     (N, channels, H_0, W_0)

    Args:
        source: what the pyramid holds.
        channels: width of the finest level and of the map; it doubles from level to level, up to eight times. [count]
        dropout: of whole channels inside the blocks. [probability]

    Source:
        Arani et al., RGPNet: A Real-Time General Purpose Semantic Segmentation, WACV 2021, sec. 3. arXiv:1912.01394

    Deviations:
        Between levels of one stride the convolutions keep the size; where a level is neither as large nor twice as
        large as the next (rounding aside), a bilinear resize makes up the difference.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 256)] = 64,
        dropout: Annotated[float, Range(0.0, 0.9)] = 0.25,
    ) -> None:
        super().__init__()
        self.align_corners = source.align_corners
        widths = [channels * 2 ** min(place, 3) for place in range(len(source.pyramid))]
        pairs = list(zip(widths, widths[1:], _steps(source.pyramid), strict=False))
        self.laterals = nn.ModuleList(
            conv_norm_act(level.channels, width) for level, width in zip(source.pyramid, widths, strict=True)
        )
        self.deepest = TwiceConvolved(widths[-1], dropout=dropout)
        self.raising = nn.ModuleList(
            nn.ConvTranspose2d(deep, fine, 3, stride=step, padding=1) for fine, deep, step in reversed(pairs)
        )
        self.blocks = nn.ModuleList(TwiceConvolved(fine, dropout=dropout) for fine, _, _ in reversed(pairs))
        self.lowering = nn.ModuleList(nn.Conv2d(fine, deep, 3, stride=step, padding=1) for fine, deep, step in pairs)
        self.out = source._replace(map=FeatureMap(channels, source.pyramid[0].stride))

    def forward(self, f: Features) -> Features:
        levels = [lateral(level) for lateral, level in zip(self.laterals, f.pyramid, strict=True)]
        sums = levels[:1]
        for lower, finer, level in zip(self.lowering, levels, levels[1:], strict=False):
            sums.append(level + resize(F.relu(lower(finer)), size_of(level), self.align_corners))
        x = self.deepest(sums.pop())
        for raising, block in zip(self.raising, self.blocks, strict=True):
            adapted = sums.pop()
            x = block(adapted + self._raised(raising, x, size_of(adapted)))
        return f._replace(map=x)

    def _raised(self, raising: nn.Module, x: Tensor, size: tuple[int, int]) -> Tensor:
        assert isinstance(raising, nn.ConvTranspose2d)
        step = raising.stride[0]
        # A strided convolution meets several sizes, its transpose can give back each of them.
        least = [(side - 1) * step + 1 for side in size_of(x)]
        given = [min(max(side, low), low + step - 1) for side, low in zip(size, least, strict=True)]
        return resize(raising(x, given), size, self.align_corners)


def _steps(pyramid: tuple[FeatureMap, ...]) -> list[int]:
    """Say for each level but the deepest how much larger than the next one its convolutions take it to be, 1 or 2."""
    return [min(2, round(deep.stride / fine.stride)) for fine, deep in itertools.pairwise(pyramid)]
