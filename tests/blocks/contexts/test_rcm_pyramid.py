"""CGRSeg's pyramid context: what it writes, and who reads it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.architecture import Component
from blocks.catalogue import catalogue
from blocks.contexts.rcm_pyramid import PyramidContext, RectangularAttention, RectangularCalibration, RectangularPyramid
from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes
from blocks.network import build_stage

LEVELS = (FeatureMap(8, 4), FeatureMap(12, 8), FeatureMap(16, 16), FeatureMap(24, 32))


def pyramid() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return tuple(torch.randn(2, level.channels, 96 // level.stride, 160 // level.stride) for level in LEVELS)


def test_a_weight_is_shaped_from_the_means_of_its_row_and_column():
    block = RectangularAttention(4, strip=3).eval()
    x = torch.randn(1, 4, 5, 7)
    rows, columns = x.mean(dim=3), x.mean(dim=2)
    rectangles = torch.stack([rows[..., i, None] + columns for i in range(5)], dim=2)
    torch.testing.assert_close(block(x), torch.sigmoid(block.shape(rectangles)) * block.local(x))


def test_a_fresh_calibration_hardly_changes_its_map():
    x = torch.randn(1, 8, 9, 9)
    change = RectangularCalibration(8).eval()(x) - x
    assert 0 < change.abs().max() < 1e-4


def test_levels_are_pooled_to_half_of_the_last_rounded_up():
    given = PyramidContext((8, 24), depth=1)(torch.randn(1, 8, 40, 40), torch.randn(1, 24, 3, 5))
    assert [tuple(g.shape) for g in given] == [(1, 8, 2, 3), (1, 24, 2, 3)]


def test_without_a_mixer_one_convolution_mixes_the_pooled_levels():
    levels = (torch.randn(1, 8, 8, 8), torch.randn(1, 24, 4, 4))
    block = PyramidContext((8, 24), mixer="none")
    pooled = torch.cat([F.avg_pool2d(levels[0], 4), F.avg_pool2d(levels[1], 2)], dim=1)
    expected = torch.einsum("oi,nihw->nohw", block.calibrate.weight[..., 0, 0], pooled)
    torch.testing.assert_close(torch.cat(block(*levels), dim=1), expected + block.calibrate.bias.reshape(-1, 1, 1))


def test_it_writes_a_guide_for_the_deepest_levels():
    source = Shapes(size=(96, 160), classes=5, pyramid=LEVELS)
    context = RectangularPyramid(source, levels=3)
    f = context(Features(torch.zeros(2, 3, 96, 160), pyramid=pyramid()))
    assert [g.shape[1] for g in f.guide] == [12, 16, 24]
    assert f.guide[-1].shape[2:] == (2, 3)
    assert RectangularPyramid(source, levels=6).levels == 4


@pytest.mark.parametrize("align", ["last", "bilinear"])
def test_an_align_that_reads_no_guide_gets_it_added_to_the_pyramid(align):
    source = Shapes(size=(96, 160), classes=5, pyramid=LEVELS)
    context = RectangularPyramid(source, levels=2)
    torch.manual_seed(1)
    guided = build_stage("align", Component(align), context.out).eval()
    torch.manual_seed(1)
    plain = build_stage("align", Component(align), source).eval()
    f = context(Features(torch.zeros(2, 3, 96, 160), pyramid=pyramid()))
    added = [x + F.interpolate(g, x.shape[-2:], mode="bilinear") for x, g in zip(f.pyramid[2:], f.guide, strict=True)]
    expected = plain(f._replace(guide=(), pyramid=(*f.pyramid[:2], *added)))
    given = guided(f)
    torch.testing.assert_close(given.map, expected.map)
    assert all(ours is theirs for ours, theirs in zip(given.pyramid, f.pyramid, strict=True))


def test_it_has_no_place_behind_the_align():
    assert "rcm_pyramid" in catalogue("context")
    with pytest.raises(BlockError, match="rcm_pyramid"):
        build_stage(
            "refine", Component("rcm_pyramid"), Shapes(size=(96, 160), classes=5, pyramid=LEVELS, map=LEVELS[0])
        )
