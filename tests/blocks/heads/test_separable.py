"""Separable: the decoder of DeepLabV3+, put together from its parts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks.features import FeatureMap, Features, Shapes
from blocks.heads.separable import Separable

SOURCE = Shapes((32, 32), 3, map=FeatureMap(12, 4))


def normalised(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, **how) -> Tensor:
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    x = F.conv2d(x, conv.weight, **how)
    return F.relu((x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None])


def test_each_channel_is_filtered_alone_then_all_are_mixed():
    torch.manual_seed(0)
    head = Separable(SOURCE, channels=8, depth=2).eval()
    for norm in (m for m in head.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    x = expected = torch.randn(2, 12, 7, 5)
    for depthwise, pointwise in head.refine:
        assert depthwise[0].weight.shape[1] == 1
        expected = normalised(expected, *depthwise[:2], padding=1, groups=expected.shape[1])
        expected = normalised(expected, *pointwise[:2])
    expected = F.conv2d(expected, head.classifier.weight, head.classifier.bias)
    torch.testing.assert_close(head(Features(torch.rand(2, 3, 28, 20), map=x)).logits, expected)


def test_it_has_the_published_decoder_s_parameters():
    """Of mmsegmentation's DeepLabV3+: two separable convolutions to 512 channels over 512 + 48, and the classifier."""
    head = Separable(Shapes((512, 512), 150, map=FeatureMap(560, 4)), channels=512)
    first, second = ((9 + 2) * inputs + (inputs + 2) * 512 for inputs in (560, 512))
    assert sum(p.numel() for p in head.parameters()) == first + second + 513 * 150
