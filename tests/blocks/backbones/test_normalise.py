"""Image statistics for any number of channels, and the first weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from blocks.backbones.initialise import initialise
from blocks.backbones.normalise import IMAGENET_MEAN, IMAGENET_STD, Normalise


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_has_the_mean_and_deviation_of_imagenet_becomes_0_and_1(channels):
    mean, std = (sum(values) / 3 for values in (IMAGENET_MEAN, IMAGENET_STD))
    means = {1: [mean], 3: [*IMAGENET_MEAN], 4: [*IMAGENET_MEAN, mean]}[channels]
    stds = {1: [std], 3: [*IMAGENET_STD], 4: [*IMAGENET_STD, std]}[channels]
    x = torch.tensor(means).view(1, -1, 1, 1)
    normalise = Normalise(channels)
    torch.testing.assert_close(normalise(x), torch.zeros_like(x))
    torch.testing.assert_close(normalise(x + torch.tensor(stds).view(1, -1, 1, 1)), torch.ones_like(x))
    assert not normalise.state_dict()


@pytest.mark.parametrize(("per_group", "fan"), [(False, 64 * 9), (True, 9)])
def test_depthwise_weights_are_drawn_by_all_outputs_or_by_those_of_a_group(per_group, fan):
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3, groups=64)
    initialise(conv, per_group=per_group)
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan), rel=0.15)
    assert not conv.bias.any()
