"""STDC networks: widths, the strided module, what STDC-Seg reads."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.backbones.stdc import DenseConcatenation, Stdc1
from blocks.features import FeatureMap, Features, Shapes

SOURCE = Shapes((61, 83), 5)
IMAGE = torch.rand(2, 3, 61, 83)


@pytest.mark.parametrize(("blocks", "widths"), [(2, [32, 32]), (3, [32, 16, 16]), (4, [32, 16, 8, 8])])
def test_each_convolution_is_half_as_wide_but_the_last(blocks, widths):
    module = DenseConcatenation(24, 64, blocks=blocks)
    assert [module.first[0].out_channels, *(block[0].out_channels for block in module.rest)] == widths
    assert module(torch.rand(2, 24, 5, 7)).shape == (2, 64, 5, 7)


def test_with_stride_the_first_part_is_averaged_and_the_others_follow_a_depthwise_convolution():
    module = DenseConcatenation(8, 16, stride=2).eval()
    x = torch.rand(1, 8, 9, 6)
    first = module.first(x)
    given = module(x)
    torch.testing.assert_close(given[:, :8], F.avg_pool2d(first, 3, 2, 1))
    second = module.rest[0](module.down(first))
    torch.testing.assert_close(given[:, 8:12], second)
    torch.testing.assert_close(given[:, 12:14], module.rest[1](second))
    assert module.down[0].groups == 8
    assert (module.down(first) < 0).any(), "no ReLU behind the depthwise convolution"


@pytest.mark.parametrize(("levels", "strides"), [(1, [32]), (3, [8, 16, 32]), (5, [2, 4, 8, 16, 32])])
def test_levels_counts_from_the_deepest(levels, strides):
    assert [level.stride for level in Stdc1(SOURCE, levels=levels).out.pyramid] == strides


def test_detail_guidance_finds_the_map_at_stride_8():
    encoder = Stdc1(SOURCE)
    f = encoder(Features(IMAGE))
    assert f.taps["detail"] is f.pyramid[1]
    assert encoder.out.taps["detail"] == FeatureMap(256, 8)


def test_stdc1_is_all_of_the_measured_network_but_its_decoder():
    """Measured: STDC1-Seg of mmsegmentation. Path up with two refinements, fusion, and a head of 256 channels."""
    path = sum(9 * width * 128 + 256 + 128 * 128 + 256 for width in (512, 1024))
    path += 1024 * 128 + 256 + 2 * (9 * 128 * 128 + 256)
    fusion = 384 * 256 + 2 * 256 + 2 * 256 * 64
    head = 256 * 256 * 9 + 2 * 256 + 256 * 19 + 19
    with torch.device("meta"):
        encoder = Stdc1(SOURCE)
    assert sum(p.numel() for p in encoder.parameters()) + path + fusion + head == 8_275_123


@pytest.mark.parametrize("channels", [1, 4])
def test_it_takes_other_images(channels):
    encoder = Stdc1(SOURCE._replace(image_channels=channels))
    assert encoder(Features(torch.rand(2, channels, 61, 83))).pyramid[-1].shape == (2, 1024, 2, 3)
