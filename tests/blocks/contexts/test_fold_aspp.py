"""Fold-ASPP: windows as torch folds them, at sizes that the window does not divide."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.contexts.fold_aspp import FoldAtrousPyramid, FoldedPyramid
from blocks.features import FeatureMap


@pytest.mark.parametrize("size", [(12, 8), (11, 7), (1, 1)], ids=str)
@pytest.mark.parametrize("window", [1, 2, 3])
def test_windows_are_unfolded_and_folded_as_torch_does(window, size):
    torch.manual_seed(0)
    pyramid = FoldedPyramid(6, 8, window=window, rates=(2, 4)).eval()
    x = torch.randn(2, 6, *size)
    down, right = (-side % window for side in size)
    full = (size[0] + down, size[1] + right)
    reduced = F.pad(pyramid.reduce(x), (0, right, 0, down))
    folded = F.unfold(reduced, window, stride=window).reshape(2, -1, *(side // window for side in full))
    fused = pyramid.fuse(torch.cat([branch(folded) for branch in pyramid.branches], dim=1))
    expected = F.fold(fused.flatten(2), full, window, stride=window)[..., : size[0], : size[1]]
    torch.testing.assert_close(pyramid(x), pyramid.mix(expected))


def test_nothing_is_normalised_before_the_end_and_then_all_is():
    context = FoldAtrousPyramid(FeatureMap(6, 8), channels=8).train()
    x = 50.0 + torch.randn(2, 6, 6, 10)
    raw, out = context.pyramid(x), context(x)
    expected = F.prelu(F.batch_norm(raw, None, None, training=True), context.act.weight)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
