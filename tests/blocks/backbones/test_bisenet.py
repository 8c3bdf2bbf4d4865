"""BiSeNet: the spatial path beside any timm model."""

from __future__ import annotations

import pytest
import torch

from blocks.architecture import Architecture, Component
from blocks.backbones.bisenet import Bisenet, SpatialPath
from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes
from blocks.network import fetch

SOURCE = Shapes((61, 83), 5)


def test_the_spatial_path_opens_with_7x7_and_has_64_channels_inside():
    layers = [block[0] for block in SpatialPath(3, 128)]
    assert [(c.kernel_size[0], c.stride[0], c.out_channels) for c in layers] == [
        (7, 2, 64),
        (3, 2, 64),
        (3, 2, 64),
        (1, 1, 128),
    ]


def test_the_spatial_path_comes_before_the_deepest_levels():
    encoder = Bisenet(SOURCE, model="resnet18")
    assert encoder.out.pyramid == (FeatureMap(128, 8), FeatureMap(256, 16), FeatureMap(512, 32))


@pytest.mark.parametrize("channels", [1, 4])
def test_both_paths_see_the_same_normalised_image(channels):
    encoder = Bisenet(SOURCE._replace(image_channels=channels), model="test_resnet", levels=1).eval()
    image = torch.rand(1, channels, 61, 83)
    spatial, deep = encoder(Features(image)).pyramid
    normal = (image - encoder.context.mean) / encoder.context.std
    torch.testing.assert_close(spatial, encoder.spatial(normal))
    torch.testing.assert_close(deep, encoder.context.model(normal)[0])


@pytest.mark.parametrize("model", ["mobilenetv3_small_100", "swin_tiny_patch4_window7_224", "efficientformerv2_s0"])
def test_any_timm_model_serves(model):
    with torch.device("meta"):
        encoder = Bisenet(SOURCE, model=model)
        maps = encoder(Features(torch.empty(1, 3, 61, 83))).pyramid
    for (channels, stride), found in zip(encoder.out.pyramid, maps, strict=True):
        assert found.shape[1:] == (channels, -(-61 // stride), -(-83 // stride))


def test_it_is_all_of_the_published_network_but_its_decoder():
    """The authors' BiSeNet on ResNet-18: path up, fusion, head of 64 channels, two more for training."""
    with torch.device("meta"):
        encoder = Bisenet(SOURCE)
    path = sum(9 * width * 128 + 256 + 128 * 128 + 256 for width in (256, 512))
    path += 512 * 128 + 256 + 2 * (9 * 128 * 128 + 256)
    fusion = 256 * 256 + 512 + 2 * 256 * 256
    heads = 9 * 256 * 64 + 128 + 64 * 19 + 19 + 2 * (9 * 128 * 256 + 512 + 256 * 19 + 19)
    assert sum(p.numel() for p in encoder.parameters()) + path + fusion + heads == 13_494_777


def test_a_model_that_does_not_exist_is_refused():
    with pytest.raises(BlockError, match="a model that timm knows"):
        Bisenet(SOURCE, model="resnet81")


def test_its_weights_can_be_fetched():
    with pytest.raises(BlockError, match="a model that timm knows"):
        fetch(Architecture(backbone=Component.of("bisenet", {"model": "resnet81", "pretrained": True})))
