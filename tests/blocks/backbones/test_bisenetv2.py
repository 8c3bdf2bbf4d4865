"""BiSeNetV2: its layers, what starts at zero, what booster heads find."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.backbones.bisenetv2 import Bilateral, ContextEmbedding, GatherExpansion, Stem
from blocks.features import FeatureMap, Features, Shapes

SOURCE = Shapes((61, 83), 5)


def test_the_stem_stacks_convolutions_before_the_maximum():
    stem = Stem(3, 16).eval()
    x = torch.rand(1, 3, 21, 30)
    first = stem.first(x)
    stacked = torch.cat([stem.convolve(first), F.max_pool2d(first, 3, 2, 1)], dim=1)
    assert stem.convolve[0][0].out_channels == 8
    torch.testing.assert_close(stem(x), stem.fuse(stacked))


def test_only_the_last_depthwise_convolution_of_a_layer_ends_with_a_relu():
    layer = GatherExpansion(8, 16, stride=2, expansion=3)
    x = torch.rand(2, 8, 9, 9)
    assert layer.expand[0].groups == 8
    assert layer.expand[0].out_channels == layer.again[0].groups == 24
    assert (layer.expand(x) < 0).any()
    assert (layer.again(layer.expand(x)) >= 0).all()
    assert (GatherExpansion(8, 8).expand(x) >= 0).all()


def test_at_first_a_layer_is_its_shortcut():
    encoder = Bilateral(SOURCE).eval()
    widen, keep = encoder.semantic.stages[1]
    x = torch.randn(1, 16, 8, 8)
    torch.testing.assert_close(widen(x), widen.shortcut(x).relu())
    y = torch.randn(1, 32, 8, 8)
    torch.testing.assert_close(keep(y), y.relu())


def test_context_embedding_adds_the_mean_to_every_pixel():
    module = ContextEmbedding(4).eval()
    x = torch.rand(2, 4, 3, 5)
    mean = torch.stack([module.embed(module.norm(image.mean(dim=(1, 2)).reshape(1, 4, 1, 1)))[0] for image in x])
    torch.testing.assert_close(module(x), module.last(x + mean.expand_as(x)))


def test_detail_comes_first_and_the_stages_of_the_semantic_branch_are_tapped():
    encoder = Bilateral(SOURCE)
    f = encoder(Features(torch.rand(2, 3, 61, 83)))
    assert encoder.out.pyramid == (FeatureMap(128, 8), FeatureMap(32, 8), FeatureMap(64, 16), FeatureMap(128, 32))
    assert list(f.taps) == list(encoder.out.taps) == ["semantic_4", "semantic_8", "semantic_16", "semantic_32"]
    for name, (channels, stride) in encoder.out.taps.items():
        assert f.taps[name].shape == (2, channels, -(-61 // stride), -(-83 // stride))
    assert f.pyramid[1] is f.taps["semantic_8"]
    assert torch.equal(f.pyramid[3], encoder.train().semantic.stages[-1](f.taps["semantic_32"]))


def test_it_is_all_of_the_measured_network_but_its_decoder():
    """Measured: BiSeNetV2 of mmsegmentation. Guided aggregation and a head of 1024 channels make the rest."""
    with torch.device("meta"):
        encoder = Bilateral(SOURCE)
    aggregation = 2 * (9 * 128 + 256 + 128 * 128 + 128) + 3 * (9 * 128 * 128 + 256)
    head = 9 * 128 * 1024 + 2 * 1024 + 1024 * 19 + 19
    assert sum(p.numel() for p in encoder.parameters()) + aggregation + head == 3_358_883


@pytest.mark.parametrize("width", [0.25, 2.0, 4.0])
def test_width_scales_every_channel(width):
    with torch.device("meta"):
        encoder = Bilateral(SOURCE._replace(image_channels=4), width=width, expansion=1)
        f = encoder(Features(torch.empty(1, 4, 61, 83)))
    assert [m.shape[1] for m in f.pyramid] == [width * count for count in (128, 32, 64, 128)]
