"""How deep weights lie, in timm's models and in all other encoders."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blocks.backbones import BACKBONES
from blocks.backbones.depth import depths
from blocks.backbones.timm import Timm
from blocks.features import Shapes

SOURCE = Shapes((64, 96), 5, 3)
# One model of each way in which timm wraps what it is asked features of, and how many groups it has.
MODELS = {
    "resnet18": 9,
    "convnext_atto": 13,
    "swin_tiny_patch4_window7_224": 13,
    "vit_tiny_patch16_224": 13,
    "mobilenetv3_small_100": 13,
    "xception41": 14,
    "hrnet_w18_small": 5,
    "vgg11": 8,
}


def built(name: str, **options) -> nn.Module:
    with torch.device("meta"):
        return BACKBONES[name](SOURCE, **options)


def check(backbone: nn.Module, layers: int) -> dict[str, int]:
    found = depths(backbone, SOURCE)
    assert found.keys() == {name for name, _ in backbone.named_parameters()}
    assert set(found.values()) == set(range(layers))
    return found


@pytest.mark.parametrize(("model", "layers"), MODELS.items())
def test_a_timm_model_has_the_layers_that_timm_groups_it_into(model, layers):
    check(built("timm", model=model), layers)


def test_a_transformer_has_its_blocks():
    found = check(built("timm", model="vit_tiny_patch16_224"), 13)
    assert found["model.model.pos_embed"] == 0
    assert [found[f"model.model.blocks.{block}.attn.qkv.weight"] for block in range(12)] == list(range(1, 13))


def test_a_name_with_the_tag_of_its_weights_is_the_same_model():
    plain, tagged = (built("timm", model=model) for model in ("resnet18", "resnet18.a1_in1k"))
    assert depths(plain, SOURCE) == depths(tagged, SOURCE)


@pytest.mark.parametrize(
    ("name", "layers"),
    [("stdc1", 4), ("mit", 4), ("mscan", 4), ("df1", 4), ("bisenetv2", 4), ("bisenet", 3), ("icnet", 3), ("dfanet", 4)],
)
def test_other_encoders_have_the_levels_of_their_pyramid(name, layers):
    backbone = built(name)
    assert not isinstance(backbone, Timm)
    check(backbone, layers)


def test_a_weight_belongs_to_the_finest_level_that_needs_it():
    found = check(built("bisenetv2"), 4)
    assert {found[name] for name in found if name.startswith("detail.")} == {0}
    assert found["semantic.stages.0.first.0.weight"] == found["semantic.stages.1.0.gather.0.weight"] == 1
    found = check(built("mit"), 4)
    for place in range(4):
        kinds = (f"embeddings.{place}.", f"stages.{place}.", f"norms.{place}.")
        assert {layer for name, layer in found.items() if name.startswith(kinds)} == {place}


def test_what_is_handed_on_decides():
    check(built("stdc1", levels=1), 1)
    check(built("stdc1", levels=5), 5)


def test_asking_changes_neither_the_backbone_nor_the_random_numbers():
    torch.manual_seed(0)
    backbone = BACKBONES["stdc1"](SOURCE).train()
    for norm in backbone.modules():
        norm.requires_grad_(not isinstance(norm, nn.BatchNorm2d))
    before = {name: (p.requires_grad, p.device.type, p.sum().item()) for name, p in backbone.named_parameters()}
    state = torch.get_rng_state()
    depths(backbone, SOURCE)
    depths(built("timm", model="resnet34"), SOURCE)
    assert backbone.training
    assert {n: (p.requires_grad, p.device.type, p.sum().item()) for n, p in backbone.named_parameters()} == before
    assert torch.equal(torch.get_rng_state(), state)
