"""DeepLabV3+'s decoder: which level is low, and what stands first."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blocks.aligns.deeplab_plus import LowLevelSkip
from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes

SOURCE = Shapes(size=(36, 44), classes=3, pyramid=(FeatureMap(5, 4), FeatureMap(6, 8), FeatureMap(7, 16)))
LEVELS = (torch.randn(2, 5, 9, 11), torch.randn(2, 6, 5, 6), torch.randn(2, 7, 2, 3))


@pytest.mark.parametrize("level", [0, 1])
def test_the_deep_level_stands_before_the_low_one(level):
    align = LowLevelSkip(SOURCE, channels=8, low=3, level=level).eval()
    seen = []
    align.fuse.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    given = align(Features(torch.zeros(2, 3, 36, 44), pyramid=LEVELS))
    deep = F.interpolate(LEVELS[2], LEVELS[level].shape[2:], mode="bilinear")
    torch.testing.assert_close(seen[0], torch.cat([deep, align.low(LEVELS[level])], dim=1))
    assert given.map.shape[2:] == LEVELS[level].shape[2:]
    assert align.out.map == FeatureMap(8, SOURCE.pyramid[level].stride)


def test_ordinary_convolutions_have_one_group():
    groups = [
        [m.groups for m in LowLevelSkip(SOURCE, separable=separable).fuse.modules() if isinstance(m, nn.Conv2d)]
        for separable in (True, False)
    ]
    assert groups == [[7 + 48, 1, 256, 1], [1, 1]]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_so_many_convolutions_follow_each_other(depth):
    align = LowLevelSkip(SOURCE, channels=8, low=3, separable=False, depth=depth)
    widths = [(m.in_channels, m.out_channels) for m in align.fuse.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [(7 + 3, 8)] + [(8, 8)] * (depth - 1)


def test_a_level_that_does_not_exist_is_refused():
    with pytest.raises(BlockError, match=r"level=3, levels=3. Use level: 0"):
        LowLevelSkip(SOURCE, level=3)
