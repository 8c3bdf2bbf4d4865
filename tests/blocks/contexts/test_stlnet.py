"""Statistical texture against counting pixel by pixel, and at the sizes where the published code fails."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from blocks.contexts.stlnet import QuantizeCount1d, QuantizeCount2d, StatisticalTextureContext, TextureEnhance
from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes

LEVELS = (FeatureMap(6, 4), FeatureMap(10, 8), FeatureMap(12, 16), FeatureMap(20, 32))


def likeness_to(mean: Tensor, pixels: Tensor) -> Tensor:
    return torch.stack([F.cosine_similarity(pixel, mean, dim=0) for pixel in pixels.T])


def encode(values: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Levels of some values, and how near each value is to each of those within one step."""
    low, high = values.min(), values.max()
    step = (high - low) / levels
    centres = torch.stack([low + (n + 0.5) * step for n in range(levels)])
    near = torch.zeros(len(values), levels)
    for i, value in enumerate(values):
        for n, centre in enumerate(centres):
            if (value - centre).abs() < step:
                near[i, n] = 1 - (value - centre).abs()
    return centres, near


def test_levels_are_counted_as_pixel_by_pixel():
    torch.manual_seed(0)
    block = QuantizeCount1d(6, 4, 5).eval()
    x = torch.randn(1, 6, 4, 3)
    pixels = block.reduce(block.local(x))[0].flatten(1)
    centres, near = encode(likeness_to(pixels.mean(dim=1), pixels), 5)
    counts = near.sum(dim=0) / near.sum()
    code = block.encode(torch.stack([centres, counts])[None, ..., None])
    mean = pixels.mean(dim=1)[None, :, None, None].expand(-1, -1, 5, 1)
    encoded, quantised = block(x)
    torch.testing.assert_close(quantised[0], near)
    torch.testing.assert_close(encoded, block.fuse(torch.cat([code, mean], dim=1)).squeeze(-1))
    assert ((near > 0).sum(dim=1) == 2).any(), "neighbouring levels overlap"


def test_pairs_are_counted_as_pixel_by_pixel():
    torch.manual_seed(0)
    block = QuantizeCount2d(6, 4, 2, levels=3).eval()
    x = torch.randn(1, 6, 6, 12)
    result = torch.zeros(1, 4, 2, 2)
    for row in range(2):
        for column in range(2):
            cell = x[0, :, 3 * row : 3 * row + 3, 6 * column : 6 * column + 6]
            pixels = cell.flatten(1)
            centres, near = encode(likeness_to(pixels.mean(dim=1), pixels), 3)
            near = near.reshape(3, 6, 3)
            counts = torch.zeros(3, 3)
            for i in range(2):
                for j in range(5):
                    counts += near[i, j][:, None] * near[i + 1, j + 1][None, :]
            counts /= counts.sum() + 1e-6
            pairs = torch.stack([centres.expand(3, 3), centres.expand(3, 3).T, counts])[None]
            mean = pixels.mean(dim=1)[None, :, None, None].expand(-1, -1, 3, 3)
            encoded = block.fuse(torch.cat([mean, block.encode(pairs)], dim=1))
            result[..., row, column] = encoded.mean(dim=(2, 3))
    torch.testing.assert_close(block(x), result)


@pytest.mark.parametrize("size", [(64, 64), (50, 31), (7, 5), (1, 1)])
@pytest.mark.parametrize("bins", [1, 3, 6])
def test_pairs_are_counted_at_any_size(size, bins):
    block = QuantizeCount2d(6, 4, bins).eval()
    described = block(torch.randn(2, 6, *size))
    assert described.shape == (2, 4, bins, bins)
    assert described.isfinite().all()


def test_a_map_without_texture_is_nothing_rather_than_not_a_number():
    block = TextureEnhance(6, 4, 5).eval()
    block.count.local[0].weight.data.zero_()
    x = torch.randn(2, 6, 4, 3, requires_grad=True)
    enhanced = block(x)
    enhanced.sum().backward()
    assert not enhanced.any()
    assert x.grad.isfinite().all()


def test_each_key_asks_the_queries():
    torch.manual_seed(0)
    block = TextureEnhance(6, 4, 5).eval()
    x = torch.randn(2, 6, 4, 3)
    nodes, quantised = block.count(x)
    key, query, value = (part.weight @ nodes for part in (block.key, block.query, block.value))
    weights = (key.transpose(1, 2) @ query).softmax(dim=-1)
    enhanced = block.rebuild((value @ weights.transpose(1, 2)).unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(block(x), (enhanced @ quantised.transpose(1, 2)).reshape(x.shape))


def test_texture_is_read_from_the_finest_levels_and_joins_the_map():
    torch.manual_seed(0)
    source = Shapes(size=(96, 96), classes=3, pyramid=LEVELS)
    stage = StatisticalTextureContext(source, channels=8, texture=8, levels=5).eval()
    pyramid = tuple(torch.randn(1, c, 96 // s, 96 // s) for c, s in LEVELS)
    given = stage(Features(torch.rand(1, 3, 96, 96), pyramid=pyramid)).pyramid[-1]
    assert given.shape == (1, 8, 3, 3)
    joint = torch.cat([pyramid[1], F.adaptive_avg_pool2d(pyramid[0], 12)], dim=1)
    texture = F.adaptive_avg_pool2d(stage.texture(joint), 3)
    torch.testing.assert_close(given, stage.fuse(torch.cat([pyramid[3], texture], dim=1)))


def test_as_refine_it_works_on_the_aligned_map_and_reads_the_pyramid():
    source = Shapes(size=(96, 96), classes=3, pyramid=LEVELS, map=FeatureMap(5, 4))
    stage = StatisticalTextureContext(source, channels=8, texture=8, levels=5, sources=8).eval()
    pyramid = tuple(torch.randn(1, c, 96 // s, 96 // s) for c, s in LEVELS)
    given = stage(Features(torch.rand(1, 3, 96, 96), pyramid=pyramid, map=torch.randn(1, 5, 24, 24)))
    assert given.map.shape == (1, 8, 24, 24)
    assert stage.texture.reduce[0].in_channels == sum(c for c, _ in LEVELS)


def test_without_low_levels_it_says_so():
    with pytest.raises(BlockError, match="low-level features"):
        StatisticalTextureContext(Shapes(size=(96, 96), classes=3, map=FeatureMap(5, 4)))
