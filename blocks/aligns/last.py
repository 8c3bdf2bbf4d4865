"""No alignment: the deepest map is the map."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from blocks.features import Features, Shapes


class Last(nn.Module):
    """Take the deepest level as it is (PSPNet, DeepLabV3).

    Shape:
        pyramid: (N, C_i, ~H / stride_i, ~W / stride_i), fine to coarse
        map:     the last of them

    Args:
        source: what the pyramid holds.

    Source:
        None: encoders with a dilated last stage need nothing else.

    Deviations:
        None.
    """

    version: ClassVar[int] = 1

    def __init__(self, source: Shapes) -> None:
        super().__init__()
        self.out = source._replace(map=source.pyramid[-1])

    def forward(self, f: Features) -> Features:
        return f._replace(map=f.pyramid[-1])
