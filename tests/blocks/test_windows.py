"""Windows that fit any map, and attention inside them."""

from __future__ import annotations

import pytest
import torch

from blocks.windows import WindowAttention, head_count, over_windows, relative_index


@pytest.mark.parametrize(
    ("channels", "width", "heads"), [(96, 32, 3), (512, 32, 16), (24, 32, 1), (100, 32, 2), (37, 4, 1), (1, 256, 1)]
)
def test_heads_share_the_channels_evenly(channels, width, heads):
    assert head_count(channels, width) == heads


@pytest.mark.parametrize(("queries", "keys"), [(3, 3), (2, 5), (7, 1)])
def test_pairs_that_lie_alike_have_one_number(queries, keys):
    numbers = relative_index(queries, keys)
    found = {}
    for query in range(queries**2):
        for key in range(keys**2):
            lie = (query // queries - key // keys, query % queries - key % keys)
            found.setdefault(lie, set()).add(numbers[query, key].item())
    assert all(len(each) == 1 for each in found.values())
    assert sorted(min(each) for each in found.values()) == list(range((queries + keys - 1) ** 2))
    assert found[1 - keys, 1 - keys] == {0}


@pytest.mark.parametrize(("size", "grid"), [((6, 8), (2, 2)), ((7, 5), (3, 2)), ((1, 1), (4, 4)), ((2, 9), (3, 1))])
def test_every_pixel_is_in_one_window_and_comes_back_to_its_place(size, grid):
    x = torch.arange(2.0 * 3 * size[0] * size[1]).reshape(2, 3, *size)
    shapes = []

    def passed(windows):
        shapes.append(windows.shape)
        return windows

    assert torch.equal(over_windows(x, grid, passed), x)
    assert sum(len(windows) * windows.shape[2:].numel() for windows in map(torch.empty, shapes)) == 2 * x[0, 0].numel()
    for dim in (2, 3):
        sides = {shape[dim] for shape in shapes}
        assert max(sides) - min(sides) <= 1
    assert len(shapes) <= 4


def test_windows_come_row_by_row_and_the_longer_ones_first():
    x = torch.arange(15.0).reshape(1, 1, 3, 5)
    firsts = over_windows(x, (2, 2), lambda windows: windows * 0 + windows[..., :1, :1])
    assert firsts[0, 0].tolist() == [[0, 0, 0, 3, 3], [0, 0, 0, 3, 3], [10, 10, 10, 13, 13]]


def test_pixels_of_a_window_see_each_other_and_their_relative_positions():
    torch.manual_seed(0)
    attention = WindowAttention(6, heads=2, window=3)
    torch.nn.init.normal_(attention.positions)
    x = torch.randn(2, 6, 6, 5)  # windows of 3x3 and 3x2
    query, key, value = attention.qkv(x).unflatten(1, (3, 2, 3)).unbind(1)
    expected = torch.zeros_like(x)
    for top, left, right in ((0, 0, 3), (0, 3, 5), (3, 0, 3), (3, 3, 5)):
        pixels = [(row, column) for row in range(top, top + 3) for column in range(left, right)]
        for row, column in pixels:
            for head in range(2):
                products = torch.stack(
                    [(query[:, head, :, row, column] * key[:, head, :, r, c]).sum(1) for r, c in pixels]
                )
                places = [(row - r + 2) * 5 + column - c + 2 for r, c in pixels]
                weights = (products / 3**0.5 + attention.positions[places, head, None]).softmax(0)
                seen = sum(w[:, None] * value[:, head, :, r, c] for w, (r, c) in zip(weights, pixels, strict=True))
                expected[:, 3 * head : 3 * head + 3, row, column] = seen
    torch.testing.assert_close(attention(x), attention.project(expected), rtol=1e-4, atol=1e-5)
