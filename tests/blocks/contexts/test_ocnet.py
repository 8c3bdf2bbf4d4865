"""Object context: attention over the map, inside cells, and in the place of image pooling."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blocks.contexts.ocnet import (
    AtrousObjectContext,
    BaseObjectContext,
    CellAttention,
    ObjectContext,
    PyramidObjectContext,
    runs,
)
from blocks.features import FeatureMap


def awake(module: nn.Module) -> nn.Module:
    """Undo the zeros that the context starts with."""
    for part in module.modules():
        if isinstance(part, CellAttention):
            nn.init.normal_(part.up.weight, std=0.3)
    return module.eval()


def test_the_last_cell_takes_the_remainder():
    assert runs(64, 6) == [(0, 50, 5), (50, 64, 1)]
    assert runs(12, 3) == [(0, 12, 3)]
    assert runs(2, 6) == [(0, 2, 2)]


@pytest.mark.parametrize("variant", ["ocnet", "openseg"])
@pytest.mark.parametrize(("size", "grid"), [((7, 9), 1), ((7, 9), 2), ((8, 6), 3), ((2, 5), 6), ((1, 1), 2)])
def test_a_pixel_attends_to_its_own_cell(size, grid, variant):
    torch.manual_seed(0)
    attention = awake(CellAttention(8, 8, 4, 6, grid=grid, variant=variant))
    x = torch.randn(2, 8, *size)
    key = attention.key(x)
    query = key if variant == "ocnet" else attention.query(x)
    q, k, v = (each.flatten(2).transpose(1, 2) for each in (query, key, attention.value(x)))
    cell = []
    for side in size:
        count = min(grid, side)
        cell.append(torch.arange(side).div(side // count, rounding_mode="floor").clamp(max=count - 1))
    number = (cell[0][:, None] * grid + cell[1]).flatten()
    logits = (q @ k.transpose(1, 2) / 2).masked_fill(number[:, None] != number, -torch.inf)
    found = (logits.softmax(dim=2) @ v).transpose(1, 2).reshape(2, 6, *size)
    torch.testing.assert_close(attention(x), attention.up(found))


def test_at_first_there_is_no_context():
    x = torch.randn(1, 8, 5, 7)
    assert not CellAttention(8, 8, 4, 4)(x).any()


def test_the_context_comes_before_the_map_it_is_fused_with():
    torch.manual_seed(0)
    block = awake(BaseObjectContext(8, 8, 4, 4))
    x = torch.randn(1, 8, 5, 7)
    torch.testing.assert_close(block(x), block.fuse(torch.cat([block.attention(x), x], dim=1)))


def test_the_pyramid_puts_the_widened_map_before_one_attention_a_grid():
    torch.manual_seed(0)
    block = awake(PyramidObjectContext(8, 8, (1, 2)))
    x = torch.randn(1, 8, 5, 7)
    parts = [block.widen(x), *(stage(x) for stage in block.stages)]
    assert parts[0].shape[1] == 16
    torch.testing.assert_close(block(x), block.fuse(torch.cat(parts, dim=1)))


@pytest.mark.parametrize("size", [(8, 10), (5, 7), (1, 1)])
def test_the_atrous_form_attends_at_half_resolution(size):
    torch.manual_seed(0)
    block = awake(AtrousObjectContext(8, 16, 8, (1, 2), align_corners=True))
    x = torch.randn(1, 8, *size)
    near = block.reduce(x)
    halved = nn.functional.max_pool2d(near, tuple(min(2, side) for side in size))
    found = nn.functional.interpolate(block.attention(halved), size, mode="bilinear", align_corners=True)
    parts = [block.context(found), *(branch(x) for branch in block.branches)]
    torch.testing.assert_close(block(x), block.fuse(torch.cat(parts, dim=1)))


@pytest.mark.parametrize(("variant", "act"), [("ocnet", nn.LeakyReLU), ("openseg", nn.ReLU)])
@pytest.mark.parametrize("form", ["base", "pyramid", "asp"])
def test_every_form_keeps_to_its_variants_activation(form, variant, act):
    context = ObjectContext(FeatureMap(16, 8), channels=16, form=form, variant=variant)
    kinds = {type(part) for part in context.modules() if isinstance(part, nn.ReLU | nn.LeakyReLU)}
    assert kinds == {act}
