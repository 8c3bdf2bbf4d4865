"""BiSeNet's fusion: which levels the context path takes, its sizes, and the gates."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.aligns.ffm import FeatureFusion, SpatialContextFusion
from blocks.features import FeatureMap, Features, Shapes

SOURCE = Shapes(
    size=(72, 88), classes=3, pyramid=(FeatureMap(4, 4), FeatureMap(5, 8), FeatureMap(6, 16), FeatureMap(7, 32))
)
LEVELS = (torch.randn(2, 4, 18, 22), torch.randn(2, 5, 9, 11), torch.randn(2, 6, 5, 5), torch.randn(2, 7, 2, 3))
F_IN = Features(torch.zeros(2, 3, 72, 88), pyramid=LEVELS)


def refined(block: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = block.conv(x)
    return x * block.gate[0](F.adaptive_avg_pool2d(x, 1)).sigmoid()


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_the_path_climbs_from_the_mean_to_the_level_above_the_refined_ones(mode):
    align = SpatialContextFusion(SOURCE, channels=8, width=8, upsampling=mode).eval()
    path = align.path
    x = path.pooling(LEVELS[3])[:, :, :1, :1] + refined(path.refinements[0], LEVELS[3])
    low = path.smooth[0](F.interpolate(x, (5, 5), mode=mode))
    x = low + refined(path.refinements[1], LEVELS[2])
    high = path.smooth[1](F.interpolate(x, (9, 11), mode=mode))
    given = align(F_IN)
    torch.testing.assert_close(given.taps["ffm_0"], low)
    torch.testing.assert_close(given.taps["ffm_1"], high)
    torch.testing.assert_close(given.map, align.fusion(LEVELS[0], F.interpolate(high, (18, 22), mode=mode)))
    assert align.out.taps == {"ffm_0": FeatureMap(8, 16), "ffm_1": FeatureMap(8, 8)}


def test_an_encoder_with_its_own_context_path_hands_over_its_end():
    align = SpatialContextFusion(SOURCE, channels=8, refined=0).eval()
    given = align(F_IN)
    assert align.path is None
    assert not given.taps
    torch.testing.assert_close(given.map, align.fusion(LEVELS[0], F.interpolate(LEVELS[3], (18, 22), mode="bilinear")))


def test_the_finest_level_is_not_refined_where_there_are_others():
    two = SOURCE._replace(pyramid=SOURCE.pyramid[:2])
    assert len(SpatialContextFusion(two, refined=5).path.refinements) == 1


@pytest.mark.parametrize(("reduction", "hidden"), [(1, 8), (4, 2), (64, 1)])
def test_the_authors_gate_is_two_plain_convolutions(reduction, hidden):
    block = FeatureFusion(5, 8, reduction=reduction).eval()
    spatial, context = torch.randn(2, 3, 4, 5), torch.randn(2, 2, 4, 5)
    squeeze, excite = (conv.weight for conv in block.gate if hasattr(conv, "weight"))
    x = block.fuse(torch.cat([spatial, context], dim=1))
    mean = x.mean(dim=(2, 3))
    gate = ((mean @ squeeze[..., 0, 0].T).relu() @ excite[..., 0, 0].T).sigmoid()
    torch.testing.assert_close(block(spatial, context), x * (1 + gate[:, :, None, None]))
    assert squeeze.shape[0] == hidden


def test_mmsegmentations_gate_never_falls_below_a_half():
    block = FeatureFusion(5, 8, variant="mmseg").eval()
    gate = block.gate(torch.randn(2, 8, 1, 1) * 100)
    assert gate.min() == 0.5
    assert gate.max() > 0.5


def test_on_resnet_18_it_has_the_size_of_the_authors():
    source = Shapes(size=(64, 64), classes=19, pyramid=(FeatureMap(128, 8), FeatureMap(256, 16), FeatureMap(512, 32)))
    pooling, deep, fine = 512 * 128 + 256, 606720, 9 * 256 * 128 + 256 + 128 * 128 + 256
    expected = pooling + deep + fine + 2 * (9 * 128 * 128 + 256) + 197120
    assert sum(p.numel() for p in SpatialContextFusion(source).parameters()) == expected
