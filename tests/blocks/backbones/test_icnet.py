"""ICNet: three resolutions over one timm model."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.nn import functional as F

from blocks.architecture import Architecture, Component
from blocks.backbones.icnet import Icnet, LightBranch, SummedPooling
from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes
from blocks.network import Network, fetch

SOURCE = Shapes((61, 83), 5)
SMALL = {"model": "test_resnet", "output_stride": 0, "detail": 16, "channels": 24, "width": 16}


def test_the_published_network_has_as_many_parameters():
    """Icnet on ResNet-50 in mmsegmentation, without its two auxiliary heads."""
    architecture = Architecture(
        backbone=Component.of("icnet", {}),
        align=Component.of("cff", {"variant": "mmseg"}),
        head=Component.of("fcn", {"channels": 128}),
    )
    with torch.device("meta"):
        network = Network(architecture, size=(1024, 2048), classes=19)
    assert sum(p.numel() for p in network.parameters()) == 47_527_507


def test_its_three_branches_have_the_strides_of_the_paper():
    with torch.device("meta"):
        encoder = Icnet(SOURCE)
    assert encoder.out.pyramid == (FeatureMap(64, 8), FeatureMap(256, 16), FeatureMap(256, 32))


def test_the_light_branch_is_three_strided_convolutions():
    layers = [block[0] for block in LightBranch(3, 64)]
    assert [(c.kernel_size[0], c.stride[0], c.out_channels) for c in layers] == [(3, 2, 32), (3, 2, 32), (3, 2, 64)]


@pytest.mark.parametrize("align_corners", [False, True])
def test_later_stages_go_on_from_the_half_sized_map_halved(align_corners):
    source = SOURCE._replace(align_corners=align_corners)
    encoder = Icnet(source, model="resnet10t", pooling="none", channels=24).eval()
    image = torch.rand(1, 3, 61, 83)
    light, middle, deep = encoder(Features(image)).pyramid
    corners = {"mode": "bilinear", "align_corners": align_corners}
    x = (F.interpolate(image, (31, 42), **corners) - encoder.encoder.mean) / encoder.encoder.std
    stages = dict(encoder.encoder.model.items())
    # The stages' own hooks are passed by: forward alone is called.
    for name, stage in stages.items():
        if name == "layer3":
            torch.testing.assert_close(middle, encoder.middle(x))
            assert x.shape[2:] == (4, 6)
            x = F.interpolate(x, (2, 3), **corners)
        x = stage.forward(x)
    torch.testing.assert_close(deep, encoder.deep(x))
    assert light.shape == (1, 64, 8, 11)


@pytest.mark.parametrize("align_corners", [False, True])
def test_summed_pooling_adds_averages_over_grids(align_corners):
    x = torch.randn(2, 4, 6, 12)
    expected = x.clone()
    for bins in (1, 2, 3):
        grid = x.reshape(2, 4, bins, 6 // bins, bins, 12 // bins).mean(dim=(3, 5))
        expected += F.interpolate(grid, (6, 12), mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(SummedPooling((1, 2, 3), align_corners=align_corners)(x), expected)


@pytest.mark.parametrize(("pooling", "inputs"), [("concat", 16), ("sum", 96), ("none", 96)])
def test_pooling_comes_before_the_last_convolution(pooling, inputs):
    options = SMALL if pooling == "concat" else {k: v for k, v in SMALL.items() if k != "width"}
    encoder = Icnet(SOURCE, **options, pooling=pooling)
    assert encoder.deep[0].in_channels == inputs
    assert encoder.out.pyramid == (FeatureMap(16, 8), FeatureMap(24, 16), FeatureMap(24, 128))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mobilenetv3_small_100", "convnext_atto", "pvt_v2_b0", "legacy_seresnet18", "dla34"])
@pytest.mark.parametrize("size", [(61, 83), (256, 512)])
def test_it_cuts_any_model_of_stages(model, size):
    with torch.device("meta"):
        encoder = Icnet(SOURCE._replace(size=size), model=model, output_stride=0)
        maps = encoder(Features(torch.empty(2, 3, *size))).pyramid
    for (channels, stride), found in zip(encoder.out.pyramid, maps, strict=True):
        assert found.shape[1] == channels
        assert all(abs(side - full / stride) < 1 for side, full in zip(found.shape[2:], size, strict=True))


def test_maps_of_channels_last_are_halved_along_height_and_width():
    with torch.device("meta"):
        encoder = Icnet(SOURCE, model="mambaout_femto", output_stride=0)
    assert encoder.encoder.nhwc
    assert encoder.out.pyramid[1:] == (FeatureMap(256, 16), FeatureMap(256, 128))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["hrnet_w18_small", "efficientformerv2_s0", "vit_tiny_patch16_224", "xception41"])
@pytest.mark.parametrize("size", [(61, 83), (256, 512)])
def test_a_model_that_cannot_be_cut_is_refused(model, size):
    with (
        torch.device("meta"),
        pytest.raises(BlockError, match=rf"served? (as asked|at half the size): got model='{model}"),
    ):
        Icnet(SOURCE._replace(size=size), model=model, output_stride=0)


def test_copies_are_cut_too():
    encoder = Icnet(SOURCE, **SMALL).eval()
    f = Features(torch.rand(1, 3, 61, 83))
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        for ours, theirs in zip(other(f).pyramid, encoder(f).pyramid, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_the_models_weights_keep_their_names():
    encoder = Icnet(SOURCE, **SMALL)
    whole = Architecture(backbone=Component.of("timm", {"model": "test_resnet"}))
    names = Network(whole, size=(61, 83), classes=5).stages["backbone"].model.state_dict().keys()
    assert encoder.encoder.model.state_dict().keys() == names


def test_its_weights_can_be_fetched():
    with pytest.raises(BlockError, match="a model that timm knows"):
        fetch(Architecture(backbone=Component.of("icnet", {"model": "resnet81", "pretrained": True})))
