"""Implicit feature alignment: every pixel of the finest level asks each level what is there."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import BatchNorm, conv_norm_act, relu, size_of
from blocks.options import Range, When

PosDim = Literal[0, 8, 16, 24, 32, 40, 48]


class PositionCode(nn.Module):
    """Relative coordinates and their sines and cosines at growing frequencies.

    Shape:
        input:  (H,) and (W,), offsets along each axis in half cells
        output: (2 + dim, H, W): the offsets, the sines, the cosines

    Args:
        dim: numbers in the code besides the two offsets; a multiple of 4. [count]
        learned: whether the frequencies are trained.
    """

    def __init__(self, dim: int, *, learned: bool) -> None:
        super().__init__()
        scale, none = 2 ** torch.linspace(0, 6, dim // 4), torch.zeros(dim // 4)
        # A row holds one frequency for y and one for x; before training, a row looks at one axis only.
        table = torch.cat([torch.stack([scale, none], dim=1), torch.stack([none, scale], dim=1)])
        if learned and dim:
            self.frequencies = nn.Parameter(table)
        else:
            self.register_buffer("frequencies", table, persistent=False)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        y, x = y[None, :, None], x[None, None, :]
        # Products, not a matrix product: autocast would round the angles to a few bits.
        angle = self.frequencies[:, 0, None, None] * y + self.frequencies[:, 1, None, None] * x
        size = (1, y.shape[1], x.shape[2])
        return torch.cat([y.expand(size), x.expand(size), angle.sin(), angle.cos()])


class ImplicitFunction(nn.Module):
    """Read all levels at each pixel of the finest one, together with where that pixel lies in their cells.

    Shape:
        levels: (N, widths[i], H_i, W_i), fine to coarse
        output: (N, channels, H_0, W_0)

    Args:
        widths: channels of each level. [count]
        channels: channels of the output; the first of several hidden layers has twice as many. [count]
        layers: 1x1 convolutions with normalisation and ReLU that turn what was read into the output. [count]
        pos_dim: size of the position code besides the two offsets. [count]
        learned: whether the frequencies of the position code are trained.
        unfold: whether a cell is read with its 8 neighbours.
        ensemble: whether the four nearest cells are read, weighted by the areas they lie opposite of.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        channels: int = 256,
        layers: int = 3,
        pos_dim: int = 24,
        learned: bool = True,
        unfold: bool = False,
        ensemble: bool = False,
    ) -> None:
        super().__init__()
        self.unfold = unfold
        self.ensemble = ensemble
        self.codes = nn.ModuleList(PositionCode(pos_dim, learned=learned) for _ in widths)
        inputs = sum(width * (9 if unfold else 1) + 2 + pos_dim for width in widths)
        hidden = [inputs, *([2 * channels] if layers > 1 else []), *([channels] * max(1, layers - 1))]
        self.mlp = nn.Sequential()
        for before, after in itertools.pairwise(hidden):
            self.mlp.extend([nn.Conv2d(before, after, 1), BatchNorm(after), relu()])

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        size = size_of(levels[0])
        read = [self._read(level, code, size) for level, code in zip(levels, self.codes, strict=True)]
        out: Tensor = self.mlp(torch.cat(read, dim=1))
        return out

    def _read(self, level: Tensor, code: nn.Module, size: tuple[int, int]) -> Tensor:
        cells = size_of(level)
        if self.unfold:
            level = F.unfold(level, 3, padding=1).reshape(level.shape[0], -1, *cells)
        rows = _nearest(size[0], cells[0], self.ensemble, level.device)
        columns = _nearest(size[1], cells[1], self.ensemble, level.device)
        total = None
        for (row, y, row_weight), (column, x, column_weight) in itertools.product(rows, columns):
            position = code(y, x).to(level.dtype).expand(level.shape[0], -1, -1, -1)
            corner = torch.cat([position, level.index_select(2, row).index_select(3, column)], dim=1)
            if not self.ensemble:
                return corner
            corner = corner * (row_weight[:, None] * column_weight).to(level.dtype)
            total = corner if total is None else total + corner
        assert total is not None
        return total


def _nearest(queries: int, cells: int, ensemble: bool, device: torch.device) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Find the nearest cell, or the two nearest, to each of the queries that divide the same length along one axis.

    Returns:
        Per neighbour its index, the offset of the query from its centre in half cells, and its weight. Indices come
        from whole numbers, so that no rounding decides which cell is nearest.
    """
    place = (2 * torch.arange(queries, device=device) + 1) * cells  # in half cells, times `queries`
    if ensemble:
        first = (place - queries).div(2 * queries, rounding_mode="floor")
        found = [first.clamp(min=0), (first + 1).clamp(max=cells - 1)]
    else:
        found = [place.div(2 * queries, rounding_mode="floor")]
    offsets = [(place - (2 * index + 1) * queries).float() / queries for index in found]
    # The area opposite of a corner factors into lengths: each neighbour weighs what its twin is away.
    lengths = [offset.abs() + 1e-9 for offset in reversed(offsets)]
    whole = sum(lengths[1:], lengths[0])
    return [(i, offset, length / whole) for i, offset, length in zip(found, offsets, lengths, strict=True)]


class ImplicitAlignment(nn.Module):
    """Let an implicit function of feature and relative position put all levels together at the finest resolution.

    Shape:
        pyramid: (N, C_i, H_i, W_i), fine to coarse, any H_i, W_i >= 1, any ratio of sizes
        map:     (N, channels, H_0, W_0)

    Args:
        source: what the pyramid holds.
        channels: channels of the map; the first of several hidden layers has twice as many. [count]
        layers: hidden layers of the implicit function. [count]
        project: whether each level is projected to `width` channels first.
        width: channels of the projected levels. [count]
        pos_dim: sines and cosines in the position code, besides the two offsets. [count]
        frequencies: of the position code: trained, or fixed at 1 ... 64.
        unfold: read a cell with its 8 neighbours.
        ensemble: read the four nearest cells of each level, weighted by the opposite areas.

    Source:
        Hu et al., Learning Implicit Feature Alignment Function for Semantic Segmentation, ECCV 2022, sec. 3.
        arXiv:2206.08655

    Deviations:
        The classifier, the last layer of the authors' function, is the head's. Their local ensemble shifts by half a
        query pixel and keeps only the last corner; ours takes the four cells around the query and adds all of them up,
        weighted by the opposite areas. Projections carry no bias before their normalisation, where it has no effect.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 1024)] = 256,
        layers: Annotated[int, Range(1, 6)] = 3,
        project: bool = True,
        width: Annotated[int, Range(8, 1024), When("project", True)] = 256,
        pos_dim: PosDim = 24,
        frequencies: Literal["learned", "fixed"] = "learned",
        unfold: bool = False,
        ensemble: bool = False,
    ) -> None:
        super().__init__()
        given = [level.channels for level in source.pyramid]
        self.project = nn.ModuleList(conv_norm_act(c, width) if project else nn.Identity() for c in given)
        self.function = ImplicitFunction(
            [width] * len(given) if project else given,
            channels=channels,
            layers=layers,
            pos_dim=pos_dim,
            learned=frequencies == "learned",
            unfold=unfold,
            ensemble=ensemble,
        )
        self.out = source._replace(map=FeatureMap(channels, source.pyramid[0].stride))

    def forward(self, f: Features) -> Features:
        levels = [project(level) for project, level in zip(self.project, f.pyramid, strict=True)]
        return f._replace(map=self.function(levels))
