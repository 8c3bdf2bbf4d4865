"""The spaces that ship: what they promise about the catalogue, and that they run."""

from __future__ import annotations

import random
import re

import pytest

from blocks.catalogue import catalogue
from blocks.cost import cost_of
from nas import Space, sweep
from nas.space import shipped

# A space that compares the members of one slot, and the slot.
COMPARISONS = {"contexts": "context", "aligns": "align", "heads": "head"}


@pytest.mark.parametrize("name", sorted(name for name in shipped() if not name.startswith("published/")))
def test_a_space_opens_with_the_question_that_it_asks(name):
    opening = shipped()[name].read_text().splitlines()[:3]
    assert all(line.startswith("# ") for line in opening)
    assert "?" in "".join(opening)


@pytest.mark.parametrize(("name", "slot"), COMPARISONS.items())
def test_a_comparison_holds_every_member_of_its_slot(name, slot):
    space = Space.load(name)
    assert space.count() == len(catalogue(slot))
    assert {getattr(each, slot).name for each in space.architectures()} == set(catalogue(slot))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "slot"), COMPARISONS.items())
def test_every_member_trains(name, slot, tmp_path):
    # Two batches of eight: two steps of the optimiser for each.
    small = ["data.shapes.size=[48, 48]", "data.shapes.train=16", "data.shapes.val=4"]
    space = Space.load(name, sets=small)
    study = sweep(space, runner="local", store=str(tmp_path / "nas.db"), folder=tmp_path / "runs")
    assert study.counts() == {"finished": len(catalogue(slot))}
    assert study.trials()["miou"].notna().all()


def test_the_space_of_everything_says_how_large_it_is():
    space = Space.load("everything")
    opening = "".join(line for line in shipped()["everything"].read_text().splitlines() if line.startswith("#"))
    stated = re.search(r"([\d,]+) architectures in all", opening)
    assert f"{space.count():,}" == stated[1]


@pytest.mark.parametrize("slot", ["context", "align", "head"])
def test_the_space_of_everything_holds_every_member(slot):
    chosen = {question.path: question.domain for question in Space.load("everything").questions()}
    assert set(chosen[f"architecture.{slot}"].values) == set(catalogue(slot))


def test_the_space_of_everything_has_four_backbones_and_a_choice_of_refinement():
    space = Space.load("everything")
    assert len(list(space.backbones())) == 4
    refine = next(q.domain.values for q in space.questions() if q.path == "architecture.refine")
    assert {"none"} < set(refine) <= set(catalogue("refine"))


@pytest.mark.slow
def test_networks_of_everything_have_a_cost():
    space, rng = Space.load("everything"), random.Random(0)
    for _ in range(40):
        architecture = space.sample(rng).architecture
        cost = cost_of(architecture, size=(64, 64), classes=5)
        assert 0 < cost.macs_conv <= cost.macs, architecture
        assert cost.params > 0, architecture
