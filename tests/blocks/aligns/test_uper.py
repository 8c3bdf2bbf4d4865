"""UPerNet: what is pooled, handed down, smoothed and concatenated."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from blocks.aligns.uper import UnifiedPyramid
from blocks.features import FeatureMap, Features, Shapes

SOURCE = Shapes(size=(36, 44), classes=3, pyramid=(FeatureMap(5, 4), FeatureMap(6, 8), FeatureMap(7, 16)))


def test_the_pooled_level_is_handed_down_but_not_smoothed():
    align = UnifiedPyramid(SOURCE, channels=8, bins=(1, 2)).eval()
    levels = (torch.randn(2, 5, 9, 11), torch.randn(2, 6, 5, 6), torch.randn(2, 7, 2, 3))
    pooled = align.pooling(levels[2])
    middle = align.laterals[1](levels[1]) + F.interpolate(pooled, (5, 6), mode="bilinear")
    fine = align.laterals[0](levels[0]) + F.interpolate(middle, (9, 11), mode="bilinear")
    parts = [align.smooth[0](fine), align.smooth[1](middle), pooled]
    parts = [F.interpolate(part, (9, 11), mode="bilinear") for part in parts]
    given = align(Features(torch.zeros(2, 3, 36, 44), pyramid=levels)).map
    torch.testing.assert_close(given, align.fuse(torch.cat(parts, dim=1)))
