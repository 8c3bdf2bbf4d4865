"""CARAFE: kernels are probabilities, one for each pixel that comes out, and reach over the border into zeros."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from blocks.aligns.carafe import Reassembly


@pytest.mark.parametrize(("scale", "kernel", "size"), [(2, 5, (3, 4)), (4, 3, (2, 3)), (2, 3, (1, 1))])
def test_each_pixel_is_put_together_from_the_neighbourhood_of_its_source(scale, kernel, size):
    block = Reassembly(3, scale, width=4, kernel=kernel)
    nn.init.normal_(block.encode.weight)
    x = torch.randn(2, 3, *size)
    height, width = size
    kernels = nn.functional.pixel_shuffle(block.encode(block.compress(x)), scale).softmax(dim=1).detach()
    expected = torch.zeros(2, 3, scale * height, scale * width)
    reach = kernel // 2
    taps = list(itertools.product(range(-reach, reach + 1), repeat=2))
    for row, column in itertools.product(range(scale * height), range(scale * width)):
        for place, (down, right) in enumerate(taps):
            y, x_ = row // scale + down, column // scale + right
            if 0 <= y < height and 0 <= x_ < width:
                weight = kernels[:, place, row, column, None]
                expected[:, :, row, column] += weight * x[:, :, y, x_]
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


def test_at_first_it_averages():
    block = Reassembly(8)
    given = block(torch.ones(1, 8, 9, 9))
    torch.testing.assert_close(given[:, :, 4:-4, 4:-4], torch.ones(1, 8, 10, 10))
    torch.testing.assert_close(given[0, 0, 0, 0], torch.tensor(9 / 25), rtol=5e-2, atol=0)


def test_its_layers_are_the_published_ones():
    shapes = [tuple(p.shape) for p in Reassembly(256).parameters()]
    assert shapes == [(64, 256, 1, 1), (64,), (100, 64, 3, 3), (100,)]
