"""Pyramid pooling: widths of its branches."""

from __future__ import annotations

import pytest

from blocks.contexts.ppm import PyramidPooling
from blocks.errors import BlockError
from blocks.features import FeatureMap


@pytest.mark.parametrize(("branch", "width"), [("split", 512 // 3), ("full", 128)])
def test_branches_share_the_source_or_take_the_full_width(branch, width):
    context = PyramidPooling(FeatureMap(512, 32), channels=128, bins=(1, 2, 4), branch=branch)
    assert context.fuse[0].in_channels == 512 + 3 * width


def test_more_bins_than_channels_cannot_be_split():
    with pytest.raises(BlockError, match="a channel for every bin"):
        PyramidPooling(FeatureMap(3, 32), bins=(1, 2, 3, 6))
    assert PyramidPooling(FeatureMap(3, 32), bins=(1, 2, 3, 6), branch="full").out.channels == 512
