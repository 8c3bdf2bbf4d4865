"""The spaces that ship: what they promise about the catalogue, and that they run."""

from __future__ import annotations

import pytest

from blocks.catalogue import catalogue
from nas import Space, sweep


def test_the_space_of_contexts_holds_every_context():
    space = Space.load("contexts")
    assert space.count() == len(catalogue("context"))
    assert {each.context.name for each in space.architectures()} == set(catalogue("context"))


@pytest.mark.slow
def test_every_context_trains(tmp_path):
    # Two batches of eight: two steps of the optimiser for each.
    small = ["data.shapes.size=[48, 48]", "data.shapes.train=16", "data.shapes.val=4"]
    space = Space.load("contexts", sets=small)
    study = sweep(space, runner="local", store=str(tmp_path / "nas.db"), folder=tmp_path / "runs")
    assert study.counts() == {"finished": len(catalogue("context"))}
    assert study.trials()["miou"].notna().all()
