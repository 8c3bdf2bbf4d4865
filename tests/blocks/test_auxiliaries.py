"""What every auxiliary loss promises, on a network that gives everything that one of them reads."""

from __future__ import annotations

import copy

import pytest
import torch

from blocks.architecture import Architecture, Component
from blocks.catalogue import catalogue
from blocks.losses import IGNORE
from blocks.network import Network, Supervised

GENEROUS = Architecture(backbone=Component("stdc1"), align=Component("last"), head=Component("ssa"))
CLASSES = 3
# At its defaults this one waits for 5000 steps, and for more pixels of a class than the coarse maps here have.
OPTIONS = {"contrast": {"max_views": 1}}


@pytest.fixture(params=catalogue("auxiliary"))
def name(request) -> str:
    return request.param


def supervised(name: str) -> Supervised:
    torch.manual_seed(0)
    network = Network(GENEROUS, size=(96, 64), classes=CLASSES)
    return Supervised(network, auxiliary=(Component.of(name, OPTIONS.get(name, {})),))


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, with labels in bands that are wide enough for every class to be seen, and a margin that is ignored."""
    image = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(seed))
    labels = (torch.arange(96) // 32).view(1, 96, 1).repeat(2, 1, 64)
    labels[:, :, -4:] = IGNORE
    return image, labels


def test_it_is_finite_and_teaches_the_network_and_all_that_it_owns(name):
    trained = supervised(name)
    value = trained(*batch())[f"auxiliary.{name}"]
    value.backward()
    assert value.shape == ()
    assert value.isfinite()
    assert value > 0
    gradients = [p.grad for p in trained.network.parameters() if p.grad is not None]
    assert any(g.any() for g in gradients)
    assert all(g.isfinite().all() for g in gradients)
    without = [n for n, p in trained.auxiliary.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


def test_without_a_label_it_is_nothing(name):
    trained = supervised(name)
    image, labels = batch()
    value = trained(image, torch.full_like(labels, IGNORE))[f"auxiliary.{name}"]
    assert value == 0
    value.backward()
    assert not any(p.grad.any() for p in trained.parameters() if p.grad is not None)


def test_it_is_finite_under_autocast(name):
    trained = supervised(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = trained(*batch())[f"auxiliary.{name}"]
    assert value.dtype == torch.float32
    assert value.isfinite()


def test_a_checkpoint_holds_all_that_it_remembers(name):
    trained = supervised(name)
    for seed in range(3):
        trained(*batch(seed))
    resumed = supervised(name)
    resumed.load_state_dict(copy.deepcopy(trained.state_dict()))
    for each in (trained, resumed):
        torch.manual_seed(1)
        # In training mode still: what it remembers goes on from here.
        each.latest = each(*batch(9))[f"auxiliary.{name}"]
    torch.testing.assert_close(resumed.latest, trained.latest, rtol=0, atol=0)
    for ours, theirs in zip(trained.buffers(), resumed.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_the_network_knows_nothing_of_it(name):
    torch.manual_seed(0)
    alone = Network(GENEROUS, size=(96, 64), classes=CLASSES)
    trained = supervised(name).network
    assert trained.state_dict().keys() == alone.state_dict().keys()
    image, _ = batch()
    torch.testing.assert_close(trained.eval()(image), alone.eval()(image), rtol=0, atol=0)
