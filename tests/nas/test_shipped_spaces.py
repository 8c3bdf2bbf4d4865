"""The spaces that ship: what they promise about the catalogue, and that they run."""

from __future__ import annotations

import pytest

from blocks.catalogue import catalogue
from nas import Space, sweep

# A space that compares the members of one slot, and the slot.
COMPARISONS = {"contexts": "context", "heads": "head"}


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
