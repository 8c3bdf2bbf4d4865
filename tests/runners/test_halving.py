"""Early stopping: what the decision promises, on random rungs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from blocks.architecture import Architecture, Component
from runners.halving import ParetoHalving, goes_on, order, rungs
from runners.protocol import Epoch, Halving, Proposal, Protocol

# Few distinct values, so that ties and copies are common.
points = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 14), st.integers(1, 3)), elements=st.integers(0, 5).map(float)
)
etas = st.integers(2, 4)


def decisions(rung, eta):
    return [goes_on(rung, i, eta=eta, minimum=1) for i in range(len(rung))]


def dominates(a, b):
    return bool((a <= b).all() and (a < b).any())


@given(points, etas, st.randoms(use_true_random=False))
def test_the_order_of_a_rung_does_not_matter(rung, eta, random):
    shuffled = list(range(len(rung)))
    random.shuffle(shuffled)
    assert decisions(rung[shuffled], eta) == [decisions(rung, eta)[i] for i in shuffled]


@given(points, etas, st.floats(1e-3, 1e12), st.integers(-100, 100))
def test_neither_scale_nor_unit_matters(rung, eta, scale, shift):
    # Powers of two and whole shifts keep the numbers exact, so ties stay ties.
    factor = 2.0 ** round(np.log2(scale))
    moved = rung.copy()
    moved[:, 0] = moved[:, 0] * factor
    moved[:, -1] = moved[:, -1] + shift
    assert decisions(moved, eta) == decisions(rung, eta)


@given(points)
def test_a_dominated_point_never_ranks_before_its_dominator(rung):
    keys = order(rung)
    for i, a in enumerate(rung):
        for j, b in enumerate(rung):
            if dominates(a, b):
                assert keys[i] < keys[j]


@given(points, etas)
def test_a_front_that_fits_the_quota_goes_on_whole(rung, eta):
    on_front = [not any(dominates(other, point) for other in rung) for point in rung]
    if sum(on_front) <= -(-len(rung) // eta):
        assert all(goes for goes, best in zip(decisions(rung, eta), on_front, strict=True) if best)


@given(st.lists(st.integers(0, 1000).map(float), min_size=1, max_size=20, unique=True), etas)
def test_one_objective_is_plain_successive_halving(values, eta):
    rung = np.array(values)[:, None]
    quota = -(-len(values) // eta)
    best = set(sorted(values)[:quota])
    assert decisions(rung, eta) == [value in best for value in values]


def test_the_cheap_end_survives():
    # mIoU alone would stop the last of these, and with it the cheap end of the front.
    rung = np.array([[-0.40, 9e9], [-0.39, 8e9], [-0.38, 7e9], [-0.37, 6e9], [-0.10, 1e8]])
    assert goes_on(rung, 4, eta=3, minimum=1)


def test_what_is_not_finite_never_goes_on_and_counts_for_nobody():
    rung = np.array([[float("nan"), 1.0], [-0.3, 2.0], [-0.2, 1.0]])
    assert not goes_on(rung, 0, eta=2, minimum=1)
    assert goes_on(rung, 1, eta=2, minimum=3)


def test_rungs_lie_below_the_end_of_the_schedule():
    assert rungs(Halving(grace=1, eta=3), 10) == (1, 3, 9)
    assert rungs(Halving(grace=1, eta=3), 9) == (1, 3)
    assert rungs(Halving(grace=4, eta=2), 4) == ()


@pytest.fixture
def proposal():
    protocol = Protocol(
        data=Component("shapes"),
        data_fingerprint="0" * 16,
        size=(64, 64),
        classes=2,
        image_channels=3,
        training=(("epochs", 9),),
        main=(),
        coarse=(),
    )
    return Proposal(trial=0, architecture=Architecture(backbone=Component("timm")), protocol=protocol, seed=0)


def epoch(number, miou):
    return Epoch(
        epoch=number,
        loss=1.0,
        miou=miou,
        pixel_accuracy=0.5,
        class_iou=(),
        learning_rate=0.1,
        seconds=1.0,
        train_memory_bytes=0,
    )


def test_the_stopper_compares_at_rungs_alone(proposal):
    stopper = ParetoHalving(Halving(grace=1, eta=3, minimum=2), {"miou": "max", "macs": "min"})
    good = replace(proposal, trial=1, known={"macs": 1e6})
    bad = replace(proposal, trial=2, known={"macs": 2e6})
    assert stopper.goes_on(good, epoch(1, 0.5))
    assert not stopper.goes_on(bad, epoch(1, 0.1))
    assert stopper.goes_on(bad, epoch(2, 0.1))  # no rung
    outcome = stopper.stopped(bad, epoch(1, 0.1))
    assert (outcome.rung, outcome.missing) == (1, pytest.approx(2 / 3))


def test_what_was_recorded_before_a_restart_counts(proposal):
    stopper = ParetoHalving(Halving(grace=1, eta=2, minimum=3), {"miou": "max", "macs": "min"})
    for trial, miou in enumerate((0.5, 0.6)):
        stopper.record(trial, {"macs": 1e6}, epoch(1, miou))
    assert not stopper.goes_on(replace(proposal, trial=7, known={"macs": 2e6}), epoch(1, 0.1))
