"""The fully convolutional head: its layers, and the whole networks that were counted with it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.architecture import Architecture, Component
from blocks.cost import cost_of
from blocks.features import FeatureMap, Features, Shapes
from blocks.heads.fcn import FullyConvolutional

STDC_WAY_UP = Component("ffm", {"upsampling": "nearest", "reduction": 4})
BISENET_WAY_UP = Component("ffm", {"upsampling": "nearest", "variant": "mmseg"})


@pytest.mark.parametrize(("depth", "kernel"), [(1, 3), (3, 3), (2, 1)])
def test_it_convolves_before_it_classifies(depth, kernel):
    head = FullyConvolutional(Shapes((32, 32), 3, map=FeatureMap(5, 8)), channels=8, depth=depth, kernel=kernel).eval()
    x = found = torch.randn(2, 5, 4, 6)
    *convs, _, classifier = head.block
    for conv, norm, _ in convs:
        found = F.conv2d(found, conv.weight, padding=kernel // 2)
        found = (
            (found - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
        ).relu()
    found = torch.einsum("nchw,kc->nkhw", found, classifier.weight[:, :, 0, 0])
    found = found + classifier.bias[:, None, None]
    assert len(convs) == depth
    torch.testing.assert_close(head(Features(x, map=x)).logits, found)


@pytest.mark.parametrize(
    ("backbone", "align", "channels", "params", "gmacs"),
    [
        (Component("stdc1", {"levels": 3}), STDC_WAY_UP, 256, 8275123, 16.863),
        (Component("bisenet"), BISENET_WAY_UP, 256, 13275539, 29.585),
        (Component("bisenetv2"), Component("bga", {"variant": "mmseg"}), 1024, 3358883, 24.603),
    ],
)
def test_with_it_networks_of_mmsegmentation_are_as_large_as_counted(backbone, align, channels, params, gmacs):
    head = Component("fcn", {"channels": channels})
    cost = cost_of(Architecture(backbone=backbone, align=align, head=head), size=(512, 1024), classes=19)
    assert cost.params == params
    assert cost.macs / 1e9 == pytest.approx(gmacs, abs=5e-4)
