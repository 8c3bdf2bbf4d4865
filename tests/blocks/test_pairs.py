"""Members of different slots fit together: every pair as declared, and a hundred whole networks for real."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

from blocks.architecture import SLOTS, Architecture, Component
from blocks.catalogue import catalogue
from blocks.cost import cost_of
from blocks.errors import BlockError
from blocks.network import Network, Supervised

CLASSES = 5
# What stands in the slots that a pair leaves open: a pyramid of four levels, all of which are read.
OPEN = {"backbone": Component.of("timm", {"model": "test_resnet"}), "align": Component.of("bilinear", {"channels": 32})}
# Pairs that cannot be, and a part of the error that says why.
FORBIDDEN: dict[tuple[str, str], str] = {}


def chosen(slot: str, name: str) -> Component:
    """A member at its defaults; of timm, the smallest model."""
    return OPEN["backbone"] if name == "timm" else Component(name)


@pytest.mark.slow
@pytest.mark.parametrize(("early", "late"), itertools.combinations(SLOTS, 2))
def test_every_pair_builds_has_a_cost_and_a_graph_or_says_why_not(early, late):
    """On the meta device nothing has a value: that products are counted and a graph is kept is all there is."""
    wrong = []
    for one, other in itertools.product(catalogue(early), catalogue(late)):
        named = (f"{early} {one}", f"{late} {other}")
        pair = OPEN | {early: chosen(early, one), late: chosen(late, other)}
        try:
            cost = cost_of(Architecture(**pair), size=(64, 96), classes=CLASSES)
        except BlockError as error:
            wrong += [] if FORBIDDEN.get(named, "nothing is declared") in str(error) else [(named, str(error))]
            continue
        if named in FORBIDDEN or cost.macs <= 0 or cost.activation_bytes <= 0:
            wrong.append((named, cost))
    assert wrong == []


def whole(seed: int) -> Architecture:
    """A network of random members at their defaults."""
    chance = random.Random(seed)
    return Architecture(**{slot: chosen(slot, chance.choice(sorted(catalogue(slot)))) for slot in SLOTS})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_a_random_network_has_finite_gradients_from_its_head_to_its_backbone(seed):
    torch.manual_seed(seed)
    architecture = whole(seed)
    try:
        supervised = Supervised(Network(architecture, size=(64, 96), classes=CLASSES))
    except BlockError as error:
        assert any(reason in str(error) for reason in FORBIDDEN.values()), architecture
        return
    loss = supervised(torch.rand(2, 3, 64, 96), torch.randint(0, CLASSES, (2, 64, 96)))
    torch.stack(list(loss.values())).sum().backward()
    gradients = {name: p.grad for name, p in supervised.named_parameters() if p.grad is not None}
    assert [name for name, grad in gradients.items() if not grad.isfinite().all()] == []
    for slot in ("backbone", "head"):
        assert any(f"stages.{slot}." in name and grad.any() for name, grad in gradients.items()), architecture
