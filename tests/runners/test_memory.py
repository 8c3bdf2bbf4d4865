"""The memory of a training step: foretold without weights, measured with them."""

from __future__ import annotations

import warnings

import pytest
import torch

from blocks.architecture import Architecture, Component
from blocks.catalogue import completed
from blocks.errors import BlockError
from blocks.options import complete
from runners.memory import foretold, measured
from runners.packing import predicted_bytes
from runners.protocol import Proposal, Protocol
from runners.training import Training

CPU = torch.device("cpu")


def timm(model):
    return Component.of("timm", {"model": model})


RESNET = timm("resnet18")
NETWORKS = {
    "aspp": {"backbone": RESNET, "context": "aspp", "align": "deeplab_plus"},
    "mobilenet": {"backbone": timm("mobilenetv3_small_100"), "context": "ppm"},
    "efficientnet": {"backbone": timm("efficientnet_b0"), "align": "fpn"},
    "convnext": {"backbone": timm("convnext_atto"), "align": "bilinear"},
    "vit": {"backbone": timm("vit_tiny_patch16_224"), "align": "bilinear"},
    "mit": {"backbone": "mit", "align": "bilinear"},
    "ham": {"backbone": "mscan", "context": "ham"},
    "danet": {"backbone": RESNET, "context": "danet"},
    "ocr": {"backbone": RESNET, "context": "ocr"},
    "ssa": {"backbone": RESNET, "head": "ssa"},
    "stdc": {"backbone": "stdc1", "align": "ffm"},
    "bisenetv2": {"backbone": "bisenetv2", "align": "bga"},
    "flow": {"backbone": timm("regnety_002"), "align": "flow"},
    "uper": {"backbone": timm("resnet10t"), "context": "ppm", "align": "uper"},
}


def network_of(name):
    slots = {slot: Component(c) if isinstance(c, str) else c for slot, c in NETWORKS[name].items()}
    return completed(Architecture(**slots))


def protocol_of(size=(64, 64), *, main=("cross_entropy",), auxiliary=(), **training):
    options = complete(Training, {"batch": 4} | training, subject="training")
    return Protocol(
        data=Component("shapes"),
        data_fingerprint="x",
        size=size,
        classes=11,
        image_channels=3,
        training=tuple(sorted(options.items())),
        main=tuple(map(Component, main)),
        coarse=(Component("cross_entropy"),),
        auxiliary=tuple(map(Component, auxiliary)),
    )


def compared(name, protocol):
    network = network_of(name)
    return foretold(network, protocol), measured(network, protocol, CPU)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_peak_of_a_step_is_foretold_within_a_fifth(name):
    expected, found = compared(name, protocol_of())
    assert expected.peak == pytest.approx(found.peak, rel=0.2)
    assert expected.step == pytest.approx(found.step, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        {"precision": "bfloat16"},
        {"optimizer": "sgd", "ema": 0.99},
        {"batch": 2, "accumulate": 2},
        {"norms": "frozen", "clip": 0.0, "class_weights": "inverse_log"},
        {"main": ("ohem",), "auxiliary": ("auxiliary_head",)},
        {"auxiliary": ("contrast",)},  # chooses pixels by their values
    ],
    ids=str,
)
def test_whatever_the_recipe(changed):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        expected, found = compared("mobilenet", protocol_of(**changed))
    assert expected.state == pytest.approx(found.state, rel=1e-4)
    assert expected.step == pytest.approx(found.step, rel=0.05)


@pytest.mark.slow
def test_state_is_what_the_recipe_keeps_of_each_weight():
    adamw, sgd, averaged = (
        foretold(network_of("mobilenet"), protocol_of(**options)).state
        for options in ({}, {"optimizer": "sgd"}, {"optimizer": "sgd", "ema": 0.9})
    )
    weights = sgd / 2
    assert adamw == pytest.approx(3 * weights, rel=0.02)
    assert averaged == pytest.approx(3 * weights, rel=0.02)


@pytest.mark.slow
def test_larger_batches_hold_more_beside_the_same_state_and_half_precision_less():
    two, eight, half = (
        foretold(network_of("stdc"), protocol_of((128, 128), **options))
        for options in ({"batch": 2}, {"batch": 8}, {"batch": 8, "precision": "bfloat16"})
    )
    assert two.state == eight.state == half.state
    assert eight.step > 2 * two.step
    assert 0.4 * eight.step < half.step < 0.9 * eight.step


@pytest.mark.slow
def test_foretelling_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    foretold(network_of("aspp"), protocol_of((96, 96)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_packing_goes_by_what_is_foretold_and_else_by_the_cost():
    protocol = protocol_of()
    known = {"params": 1e6, "activation_bytes": 1e6}
    proposal = Proposal(trial=0, architecture=network_of("mobilenet"), protocol=protocol, seed=0, known=known)
    assert predicted_bytes(proposal) == foretold(proposal.architecture, protocol).peak
    unknown = Architecture(backbone=Component("nowhere"))
    with pytest.raises(BlockError, match="nowhere"):
        foretold(unknown, protocol)
    elsewhere = Proposal(trial=0, architecture=unknown, protocol=protocol, seed=0, known=known)
    assert predicted_bytes(elsewhere) == 16e6 + 4e6
