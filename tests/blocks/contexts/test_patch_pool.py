"""Patch pooling: averages over and across cells, where the grid divides the map and where it does not."""

from __future__ import annotations

import pytest
import torch

from blocks.contexts.patch_pool import PatchAverage


def naive(x, grid, over):
    height, width = x.shape[2:]
    tall, wide = (-(-side // cells) for side, cells in zip((height, width), grid, strict=True))
    out = torch.empty_like(x)
    for row in range(height):
        for column in range(width):
            if over == "pixels":
                top, left = row // tall * tall, column // wide * wide
                seen = x[..., top : top + tall, left : left + wide]
            else:
                seen = x[..., row % tall :: tall, column % wide :: wide]
            out[..., row, column] = seen.mean(dim=(2, 3))
    return out


@pytest.mark.parametrize("over", ["pixels", "cells"])
@pytest.mark.parametrize("size", [(6, 8), (7, 5), (2, 1)], ids=str)
@pytest.mark.parametrize("grid", [(2, 4), (3, 3)], ids=str)
def test_only_pixels_of_the_map_are_averaged(grid, size, over):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(PatchAverage(grid, over=over)(x), naive(x, grid, over))
