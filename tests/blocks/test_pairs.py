"""Members of different slots fit together: every pair as declared, and a hundred whole networks for real."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from blocks.architecture import SLOTS, Architecture, Component
from blocks.catalogue import catalogue, component
from blocks.cost import cost_of_module
from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes
from blocks.network import Network, Supervised, build_stage

SIZE = (64, 96)
CLASSES = 5
LEVELS = (FeatureMap(16, 4), FeatureMap(24, 8), FeatureMap(32, 16), FeatureMap(48, 32))
# What stands in the slots that a pair leaves open.
PLAIN = {"context": "none", "align": "last", "refine": "none", "head": "linear"}
# Pairs that cannot be: two names, each with its slot, and a part of the error that says why.
FORBIDDEN: dict[tuple[str, str], str] = {}


class Chain(nn.Module):
    """Some stages in a row, over an image or over a small pyramid where there is no backbone."""

    def __init__(self, chosen: dict[str, str]) -> None:
        super().__init__()
        shapes = Shapes(SIZE, CLASSES) if "backbone" in chosen else Shapes(SIZE, CLASSES, pyramid=LEVELS)
        self.stages = nn.ModuleDict()
        for slot in SLOTS:
            if name := chosen.get(slot):
                self.stages[slot] = build_stage(slot, component(slot, name), shapes)
                shapes = self.stages[slot].out

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        f = Features(image)
        if "backbone" not in self.stages:
            f = f._replace(pyramid=tuple(image.new_zeros(1, c, *(side // s for side in SIZE)) for c, s in LEVELS))
        for stage in self.stages.values():
            f = stage(f)
        return (f.logits, *f.coarse)


def pairs(early: str, late: str) -> Iterator[dict[str, str]]:
    for one, other in itertools.product(catalogue(early), catalogue(late)):
        yield {**PLAIN, early: one, late: other}


@pytest.mark.slow
@pytest.mark.parametrize(("early", "late"), itertools.combinations(SLOTS, 2), ids=str)
def test_every_pair_builds_has_a_cost_and_a_gradient_or_says_why_not(early, late):
    """On the meta device nothing is computed: shapes, products and the graph are all there is."""
    wrong = []
    for chosen in pairs(early, late):
        named = (f"{early} {chosen[early]}", f"{late} {chosen[late]}")
        with torch.device("meta"):
            try:
                chain, image = Chain(chosen), torch.empty(1, 3, *SIZE)
                cost = cost_of_module(chain, image)
                torch.stack([t.sum() for t in chain.eval()(image)]).sum().backward()
            except BlockError as error:
                wrong += [] if FORBIDDEN.get(named, "not declared") in str(error) else [(named, str(error))]
                continue
        untaught = [
            slot
            for slot, stage in chain.stages.items()
            if list(stage.parameters()) and all(p.grad is None for p in stage.parameters())
        ]
        if named in FORBIDDEN or cost.macs <= 0 or untaught:
            wrong.append((named, cost, untaught))
    assert wrong == []


def whole(seed: int) -> Architecture:
    """A network of random members at their defaults."""
    chance = random.Random(seed)
    chosen = {slot: chance.choice(sorted(catalogue(slot))) for slot in SLOTS}
    small = {"timm": {"model": "test_resnet"}}
    return Architecture(**{slot: Component.of(name, small.get(name)) for slot, name in chosen.items()})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_a_random_network_learns(seed):
    torch.manual_seed(seed)
    architecture = whole(seed)
    try:
        supervised = Supervised(Network(architecture, size=SIZE, classes=CLASSES))
    except BlockError as error:
        assert any(reason in str(error) for reason in FORBIDDEN.values()), architecture
        return
    image, labels = torch.rand(2, 3, *SIZE), torch.randint(0, CLASSES, (2, *SIZE))
    loss = torch.stack(list(supervised(image, labels).values())).sum()
    loss.backward()
    gradients = {name: p.grad for name, p in supervised.named_parameters() if p.grad is not None}
    assert loss.isfinite()
    assert [name for name, grad in gradients.items() if not grad.isfinite().all()] == []
    for slot in ("backbone", "head"):
        assert any(f"stages.{slot}." in name and grad.any() for name, grad in gradients.items()), slot
