"""Atrous pyramid pooling against torchvision's."""

from __future__ import annotations

import torch
from torchvision.models.segmentation.deeplabv3 import ASPP

from blocks.contexts.aspp import AtrousPyramid
from blocks.features import FeatureMap


def test_it_is_torchvisions_weight_by_weight():
    theirs = ASPP(32, [2, 4, 6], 16).eval()
    ours = AtrousPyramid(FeatureMap(32, 16), channels=16, rates=(2, 4, 6)).eval()
    for weight, recorded in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        weight.copy_(recorded)
    x = torch.randn(2, 32, 13, 9)
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours.dropout.p == theirs.project[3].p


def test_image_pooling_sees_the_whole_map():
    context = AtrousPyramid(FeatureMap(8, 16), channels=8, rates=(2,)).eval()
    x = torch.randn(1, 8, 40, 40)
    far = x.clone()
    far[..., -1, -1] += 100.0
    assert not torch.equal(context(x)[..., 0, 0], context(far)[..., 0, 0])
    without = AtrousPyramid(FeatureMap(8, 16), channels=8, rates=(2,), image_pooling=False).eval()
    assert torch.equal(without(x)[..., 0, 0], without(far)[..., 0, 0])
