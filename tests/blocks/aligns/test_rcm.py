"""CGRSeg's reconstruction: which guide weighs which level, and what becomes of a level without one."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.aligns.rcm import GuidedFusion, SpatialReconstruction
from blocks.architecture import Component
from blocks.features import FeatureMap, Features, Shapes
from blocks.network import build_stage

SOURCE = Shapes(size=(72, 88), classes=3, pyramid=(FeatureMap(6, 8), FeatureMap(10, 16), FeatureMap(14, 32)))
LEVELS = (torch.randn(2, 6, 9, 11), torch.randn(2, 10, 5, 6), torch.randn(2, 14, 3, 3))
GUIDES = tuple(torch.randn(2, width, 2, 2) for width in (6, 10, 14))
GUIDED = SOURCE._replace(guide=tuple(level._replace(stride=64) for level in SOURCE.pyramid))


def written(align, guide=GUIDES, levels=LEVELS):
    return align(Features(torch.zeros(2, 3, 72, 88), pyramid=levels, guide=guide)).map


def test_weights_are_made_at_the_guides_resolution_and_resized_after_the_hard_sigmoid():
    fusion = GuidedFusion(6, 8, 10).eval()
    x, guide = torch.randn(2, 6, 9, 11), 4 * torch.randn(2, 10, 3, 2)
    weights = (F.relu6(fusion.weights[1](fusion.weights[0](guide)) + 3) / 6).clamp(0, 1)
    weights = F.interpolate(weights, (9, 11), mode="bilinear", align_corners=False)
    torch.testing.assert_close(fusion(x, guide), fusion.local(x) * weights)


def test_each_level_receives_the_result_from_above_and_its_own_guide():
    align = SpatialReconstruction(GUIDED, channels=8).eval()
    for calibration in align.calibrations:
        torch.nn.init.constant_(calibration.scale, 0.5)  # or else it is an identity
    x = align.fusions[2](align.calibrations[2](LEVELS[2]), GUIDES[2])
    for place in (1, 0):
        above = F.interpolate(x, LEVELS[place].shape[2:], mode="bilinear", align_corners=False)
        local = LEVELS[place] + align.descents[place](above)
        x = align.fusions[place](align.calibrations[place](local), GUIDES[place])
    torch.testing.assert_close(written(align), x)
    assert align.out.map == FeatureMap(8, 8)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_guide_counts(place):
    align = SpatialReconstruction(GUIDED, channels=8).eval()
    changed = [guide + (1 if own == place else 0) for own, guide in enumerate(GUIDES)]
    assert not torch.allclose(written(align), written(align, tuple(changed)))


def test_guides_belong_to_the_deepest_levels_and_may_have_channels_of_their_own():
    source = SOURCE._replace(guide=(FeatureMap(5, 64),))
    align = SpatialReconstruction(source, channels=8).eval()
    assert [fusion.weights is None for fusion in align.fusions] == [True, True, False]
    assert written(align, (torch.randn(2, 5, 1, 2),)).shape == (2, 8, 9, 11)


def test_without_a_guide_levels_are_projected_and_not_weighed():
    align = SpatialReconstruction(SOURCE, channels=8, levels=1).eval()
    f = Features(torch.zeros(2, 3, 72, 88), pyramid=LEVELS)
    torch.testing.assert_close(align(f).map, align.fusions[0].local(align.calibrations[0](LEVELS[2])))
    assert align.out.map == FeatureMap(8, 32)


def test_fewer_levels_than_guides_take_the_deepest_guides():
    align = SpatialReconstruction(GUIDED, channels=8, levels=2).eval()
    assert written(align).shape == (2, 8, 5, 6)


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_it_reads_the_guide_that_the_pyramid_context_wrote(levels):
    context = build_stage("context", Component.of("rcm_pyramid", {"levels": 2, "depth": 1}), SOURCE)
    align = build_stage("align", Component.of("rcm", {"channels": 8, "levels": levels}), context.out)
    assert isinstance(align, SpatialReconstruction), "no wrapper adds the guide for it"
    f = align.train()(context.train()(Features(torch.zeros(2, 3, 72, 88), pyramid=LEVELS)))
    f.map.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in (*context.parameters(), *align.parameters()))


def test_what_is_not_calibrated_is_the_sum_as_it_comes():
    align = SpatialReconstruction(GUIDED, channels=8, mixer="none").eval()
    deep = align.fusions[2](LEVELS[2], GUIDES[2])
    above = F.interpolate(deep, LEVELS[1].shape[2:], mode="bilinear")
    middle = align.fusions[1](LEVELS[1] + align.descents[1](above), GUIDES[1])
    above = F.interpolate(middle, LEVELS[0].shape[2:], mode="bilinear")
    torch.testing.assert_close(written(align), align.fusions[0](LEVELS[0] + align.descents[0](above), GUIDES[0]))


def test_a_fused_map_is_rectified_channel_by_channel():
    align = SpatialReconstruction(GUIDED, channels=8, fuse=True).eval()
    fused, align.fuse = align.fuse, torch.nn.Identity()
    plain = written(align)
    scale = fused[0].weight.reshape(-1, 1, 1) / (1 + fused[1].eps) ** 0.5
    torch.testing.assert_close(fused(plain), (scale * plain).relu())
