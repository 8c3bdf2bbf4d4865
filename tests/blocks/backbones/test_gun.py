"""GUN: one encoder at two resolutions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.architecture import Architecture, Component
from blocks.backbones.gun import Gun, ResolutionFusion
from blocks.backbones.timm import Timm
from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes
from blocks.network import fetch

SOURCE = Shapes((61, 83), 5)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("align_corners", [False, True])
def test_both_sizes_go_through_the_same_weights(align_corners):
    encoder = Gun(SOURCE._replace(align_corners=align_corners), model="resnet10t", channels=24).eval()
    image = torch.rand(1, 3, 61, 83)
    *finer, fused = encoder(Features(image)).pyramid
    half = F.interpolate(image, (31, 42), mode="bilinear", align_corners=align_corners)
    full, small = (encoder.encoder(Features(each)).pyramid for each in (image, half))
    assert full[-1].shape[2:] == (8, 11)
    assert small[-1].shape[2:] == (4, 6)
    for ours, theirs in zip(finer, full[:-1], strict=True):
        torch.testing.assert_close(ours, theirs)
    resized = F.interpolate(small[-1], (8, 11), mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(fused, encoder.fuse.project(full[-1] + resized))


def test_it_holds_one_model_and_the_fusion():
    encoder = Gun(SOURCE, channels=24)
    assert count(encoder) == count(Timm(SOURCE, model="resnet18", output_stride=8)) + 512 * 24 + 2 * 24


def test_the_pyramid_is_that_of_the_full_image():
    with torch.device("meta"):
        encoder = Gun(SOURCE)
    assert encoder.out.pyramid == (FeatureMap(64, 4), FeatureMap(128, 8), FeatureMap(256, 8), FeatureMap(512, 8))


@pytest.mark.parametrize(("fusion", "inputs"), [("sum", 6), ("concat", 12)])
def test_maps_are_joined_at_the_finer_size(fusion, inputs):
    fuse = ResolutionFusion(6, 4, fusion=fusion).eval()
    fine, coarse = torch.randn(2, 6, 5, 7), torch.randn(2, 6, 3, 4)
    resized = F.interpolate(coarse, (5, 7), mode="bilinear")
    joined = fine + resized if fusion == "sum" else torch.cat((fine, resized), dim=1)
    weight = fuse.project[0].weight[:, :, 0, 0]
    assert weight.shape == (4, inputs)
    expected = torch.einsum("oc,nchw->nohw", weight, joined) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(fuse(fine, coarse), expected.relu())


def test_the_half_is_padded_where_only_it_must_be():
    """HRNet wants sides divisible by 32, which those of the half are not."""
    source = SOURCE._replace(size=(64, 96))
    with torch.device("meta"):
        encoder = Gun(source, model="hrnet_w18_small", output_stride=0)
        maps = encoder(Features(torch.empty(2, 3, 64, 96))).pyramid
    assert [m.shape[2:] for m in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.mark.parametrize("model", ["efficientformerv2_s0", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"])
def test_a_model_of_a_fixed_size_is_refused(model):
    with torch.device("meta"), pytest.raises(BlockError, match="images of two sizes"):
        Gun(SOURCE, model=model, output_stride=0)


def test_its_weights_can_be_fetched():
    with pytest.raises(BlockError, match="a model that timm knows"):
        fetch(Architecture(backbone=Component.of("gun", {"model": "resnet81", "pretrained": True})))
