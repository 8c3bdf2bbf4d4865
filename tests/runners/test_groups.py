"""Every weight is trained once, at its own rate."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from blocks.architecture import Architecture, Component
from blocks.errors import BlockError
from blocks.network import Network, Supervised
from runners.groups import parameter_groups
from runners.optimise import Fit, learning_rate
from runners.training import Training

BACKBONES = {
    "resnet": Component.of("timm", {"model": "resnet18"}),
    "convnext": Component.of("timm", {"model": "convnext_atto"}),
    "vit": Component.of("timm", {"model": "vit_tiny_patch16_224"}),
    "swin": Component.of("timm", {"model": "swin_tiny_patch4_window7_224"}),
    "efficientnet": Component.of("timm", {"model": "efficientnet_b0"}),
    "stdc1": Component("stdc1"),
    "mit": Component("mit"),
    "psa_hrnet": Component("psa_hrnet"),
}
OPTIONS = [
    {},
    {"backbone_rate": 0.1},
    {"head_rate": 10.0, "decay": "all"},
    {"layer_decay": 0.9, "backbone_rate": 0.5, "head_rate": 2.0},
]
PREFIX = "network.stages.backbone."


def supervised_with(backbone: Component, *losses: str) -> Supervised:
    architecture = Architecture(backbone=backbone, align=Component.of("bilinear", {"channels": 16}))
    with torch.device("meta"):
        auxiliary = tuple(Component(loss) for loss in losses)
        return Supervised(Network(architecture, size=(64, 64), classes=5), auxiliary=auxiliary)


def found(supervised: Supervised, training: Training) -> dict[str, tuple[float, float]]:
    """Rate and decay of every weight by its name, each of which is met once."""
    names = {id(p): name for name, p in supervised.named_parameters()}
    groups = parameter_groups(supervised, training)
    known = [(names[id(p)], (g["rate"], g["weight_decay"])) for g in groups for p in g["params"]]
    assert len(known) == len(dict(known)) == len(names)
    return dict(known)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "psa_hrnet")) for n in BACKBONES])
def test_every_weight_is_in_one_group_whatever_is_asked(name):
    supervised = supervised_with(BACKBONES[name], "auxiliary_head")
    for options in OPTIONS:
        training = Training(weight_decay=0.05, **options)
        for path, (rate, decay) in found(supervised, training).items():
            weight = supervised.get_parameter(path)
            assert decay == (0.05 if weight.ndim > 1 or training.decay == "all" else 0.0)
            if not path.startswith(PREFIX):
                assert rate == training.head_rate
            elif training.layer_decay == 1.0:
                assert rate == training.backbone_rate
            else:
                layers = math.log(rate / training.backbone_rate, training.layer_decay)
                assert layers == pytest.approx(round(layers))
                assert layers >= 0.99


def test_the_rate_falls_from_block_to_block_of_a_timm_model():
    known = found(supervised_with(BACKBONES["resnet"]), Training(layer_decay=0.5))
    blocks = ["conv1", *(f"layer{stage}.{block}.conv1" for stage, block in itertools.product((1, 2, 3, 4), (0, 1)))]
    rates = [known[f"{PREFIX}model.{block}.weight"][0] for block in blocks]
    assert rates == [0.5**below for below in range(9, 0, -1)]


def test_the_rate_falls_from_stage_to_stage_of_an_own_encoder():
    known = found(supervised_with(BACKBONES["stdc1"]), Training(layer_decay=0.5))
    weights = ["0.0", "1.0", "2.0.first.0", "3.0.first.0", "4.0.first.0"]
    rates = [known[f"{PREFIX}network.stages.{name}.weight"][0] for name in weights]
    assert rates == [0.5**4, 0.5**4, 0.5**3, 0.5**2, 0.5]


def test_an_encoder_of_one_layer_has_none_to_decay_by():
    supervised = supervised_with(Component.of("stdc1", {"levels": 1}))
    with pytest.raises(BlockError, match=r"layer_decay needs a backbone of two layers or more: got backbone='stdc1'"):
        parameter_groups(supervised, Training(layer_decay=0.9))


def test_groups_are_the_same_for_the_same_network():
    training = Training(layer_decay=0.9, head_rate=10.0)
    first, second = (list(found(supervised_with(BACKBONES["vit"]), training).items()) for _ in range(2))
    assert first == second


def test_a_step_moves_each_group_by_its_own_rate(proposal):
    supervised = Supervised(Network(proposal().architecture, size=(32, 32), classes=6))
    training = Training(backbone_rate=0.1, head_rate=3.0, clip=0.0, weight_decay=0.0)
    fit = Fit(supervised, training, torch.device("cpu"))
    before = {name: p.detach().clone() for name, p in supervised.named_parameters()}
    fit.step(torch.rand(4, 3, 32, 32), torch.randint(0, 6, (4, 32, 32)), step=5, steps=10)
    peak = learning_rate(5, 10, training)
    for factor, inside in ((0.1, True), (3.0, False)):
        moved = [
            (p.detach() - before[name]).abs().max().item()
            for name, p in supervised.named_parameters()
            if name.startswith(PREFIX) == inside
        ]
        assert max(moved) == pytest.approx(factor * peak, rel=1e-3), "as far as Adam's first step goes"
