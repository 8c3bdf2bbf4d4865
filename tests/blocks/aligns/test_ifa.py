"""Implicit alignment: where it reads, and how its four corners are weighted."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.aligns.ifa import ImplicitAlignment, ImplicitFunction
from blocks.features import FeatureMap, Shapes

SIZES = [
    ((12, 16), (6, 8)),
    ((12, 16), (3, 2)),
    ((7, 9), (7, 9)),
    ((15, 10), (5, 3)),
    ((5, 4), (1, 1)),
    ((4, 4), (9, 7)),
]


def centres(cells: int) -> torch.Tensor:
    """Centres of cells that divide [-1, 1] evenly."""
    return (2 * torch.arange(cells) + 1) / cells - 1


def read(level: torch.Tensor, size: tuple[int, int], **options) -> torch.Tensor:
    function = ImplicitFunction([level.shape[1]], pos_dim=8, **options)
    return function._read(level, function.codes[0], size)


@pytest.mark.parametrize(("size", "cells"), SIZES)
def test_it_reads_the_nearest_cell_and_where_the_pixel_lies_in_it(size, cells):
    level = torch.randn(2, 3, *cells)
    query = torch.stack(torch.meshgrid(centres(size[0]), centres(size[1]), indexing="ij"))
    grid = query.flip(0).permute(1, 2, 0).expand(2, -1, -1, -1)
    nearest = F.grid_sample(level, grid, mode="nearest", align_corners=False)
    places = torch.stack(torch.meshgrid(centres(cells[0]), centres(cells[1]), indexing="ij")).expand(2, -1, -1, -1)
    offset = query - F.grid_sample(places, grid, mode="nearest", align_corners=False)
    offset = offset * torch.tensor(cells).reshape(2, 1, 1)
    y, x = offset[:, :1], offset[:, 1:]
    code = torch.cat([offset, y.sin(), (64 * y).sin(), x.sin(), (64 * x).sin()], dim=1)
    code = torch.cat([code, y.cos(), (64 * y).cos(), x.cos(), (64 * x).cos()], dim=1)
    torch.testing.assert_close(read(level, size), torch.cat([code, nearest], dim=1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "cells"), SIZES)
def test_the_ensemble_of_four_cells_reads_features_bilinearly(size, cells):
    level = torch.randn(2, 3, *cells)
    expected = F.interpolate(level, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(read(level, size, ensemble=True)[:, -3:], expected, rtol=1e-4, atol=1e-4)


def test_unfolding_reads_the_neighbours_too():
    level = torch.randn(1, 2, 4, 5)
    patch = read(level, (8, 10), unfold=True)[0, -18:].reshape(2, 9, 8, 10)
    torch.testing.assert_close(patch[:, :, 3, 5], level[0, :, 0:3, 1:4].reshape(2, 9))


@pytest.mark.parametrize(("layers", "widths"), [(1, [24]), (2, [48, 24]), (4, [48, 24, 24, 24])])
def test_the_first_of_several_hidden_layers_is_twice_as_wide(layers, widths):
    function = ImplicitFunction([8, 8], channels=24, layers=layers)
    assert [layer.out_channels for layer in function.mlp if hasattr(layer, "out_channels")] == widths


def test_fixed_frequencies_are_not_parameters():
    source = Shapes(size=(32, 32), classes=3, pyramid=(FeatureMap(8, 4), FeatureMap(8, 8)))
    learned, fixed = (
        sum(p.numel() for p in ImplicitAlignment(source, frequencies=f).parameters()) for f in ("learned", "fixed")
    )
    assert learned - fixed == 2 * 12 * 2, "one for each of 12 sines and both axes, on two levels"
