"""Early stopping: what the decision promises, on random rungs."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import TrialScheduler
from ray.tune.schedulers.async_hyperband import _Bracket

from blocks.architecture import Architecture, Component
from runners.halving import ParetoHalving, bracket_of, goes_on, rungs
from runners.protocol import Epoch, Halving, Paused, Proposal, Protocol, Stopped

etas = st.integers(2, 5)
arrivals = st.lists(st.integers(0, 30).map(float), min_size=1, max_size=40)
patient = settings(deadline=None)


class Asha:
    """Asynchronous successive halving on one metric, less is better, as one would write it down (Li et al., 2020)."""

    def __init__(self, eta, levels):
        self.eta, self.rungs = eta, {level: {} for level in levels}

    def goes_on(self, trial, level, loss):
        if level not in self.rungs:
            return True
        self.rungs[level][trial] = loss
        return self.in_top(trial, level)

    def in_top(self, trial, level):
        rung = self.rungs[level]
        better = sum(other < rung[trial] for other in rung.values())
        return better < math.ceil(len(rung) / self.eta)


@patient
@given(
    st.lists(st.lists(st.integers(0, 9).map(float), min_size=9, max_size=9), min_size=1, max_size=30),
    etas,
    st.integers(1, 2),
)
def test_one_objective_is_exactly_asha(curves, eta, grace):
    options = Halving(grace=grace, eta=eta, minimum=1, promote=False)
    ours = ParetoHalving(options, {"loss": "min"})
    plain = Asha(eta, [grace * eta**k for k in range(10)])
    for trial, curve in enumerate(curves):
        for number, loss in enumerate(curve[:-1], start=1):
            going = ours.goes_on(a_proposal(trial), epoch(number, 0.5, loss=loss))
            assert going == plain.goes_on(trial, number, loss)
            if not going:
                break


@patient
@given(arrivals, st.sampled_from([2, 4]))  # its percentile of a third suffers from rounding
def test_one_objective_is_the_rule_of_ray_but_for_its_interpolation(losses, eta):
    """Ray asks whether a result is above a percentile of those before it, which may lie between two of them."""
    theirs = _Bracket(min_t=1, max_t=eta**2, reduction_factor=eta, s=0)
    ours = ParetoHalving(Halving(grace=1, eta=eta, minimum=1, promote=False), {"loss": "min"})
    for trial, loss in enumerate(losses):
        before = sorted(-other for other in losses[:trial])
        ray = theirs.on_result(SimpleNamespace(trial_id=str(trial)), 1, -loss) == TrialScheduler.CONTINUE
        going = ours.goes_on(a_proposal(trial), epoch(1, 0.5, loss=loss))
        at = (len(before) - 1) * (1 - 1 / eta)
        between = before and before[math.floor(at)] <= -loss < before[math.ceil(at)]
        assert going == ray or between


@patient
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=25), etas, st.integers(1, 6))
def test_a_trial_is_stopped_only_where_the_front_does_not_fit(pairs, eta, minimum):
    rung = np.array(pairs, dtype=np.float64)
    going = goes_on(rung, eta=eta, minimum=minimum)
    for point, goes in zip(rung, going, strict=True):
        beaten = any((other <= point).all() and (other < point).any() for other in rung)
        front = sum(not any((o <= p).all() and (o < p).any() for o in rung) for p in rung)
        assert goes or beaten or front > math.ceil(len(rung) / eta)
    assert going.all() or len(rung) >= minimum


def test_the_cheap_end_survives():
    # mIoU alone would stop the last of these, and with it the cheap end of the front.
    rung = np.array([[-0.40, 9e9], [-0.39, 8e9], [-0.38, 7e9], [-0.37, 6e9], [-0.10, 1e8]])
    assert goes_on(rung, eta=3, minimum=1)[4]


def test_what_is_not_finite_never_goes_on_and_counts_for_nobody():
    rung = np.array([[float("nan"), 1.0], [-0.3, 2.0], [-0.2, 2.0]])
    assert goes_on(rung, eta=2, minimum=2).tolist() == [False, True, False]
    assert goes_on(rung, eta=2, minimum=3).tolist() == [False, True, True]


def test_rungs_lie_below_the_end_of_the_schedule():
    assert rungs(Halving(grace=1, eta=3), 10) == (1, 3, 9)
    assert rungs(Halving(grace=1, eta=3), 9) == (1, 3)
    assert rungs(Halving(grace=4, eta=2), 4) == ()
    assert rungs(Halving(grace=1, eta=3), 10, bracket=1) == (3, 9)


PROTOCOL = Protocol(
    data=Component("shapes"),
    data_fingerprint="0" * 16,
    size=(64, 64),
    classes=2,
    image_channels=3,
    training=(("epochs", 9),),
    main=(),
    coarse=(),
)


def a_proposal(trial, done=0, **known):
    architecture = Architecture(backbone=Component("timm"))
    return Proposal(trial=trial, architecture=architecture, protocol=PROTOCOL, seed=0, known=known, done=done)


def epoch(number, miou, loss=1.0, **measured):
    return Epoch(
        epoch=number,
        loss=loss,
        miou=miou,
        pixel_accuracy=0.5,
        class_iou=(),
        learning_rate=0.1,
        seconds=1.0,
        train_memory_bytes=0,
        **measured,
    )


TWO = {"miou": "max", "macs": "min"}


def test_the_stopper_compares_at_rungs_alone():
    stopper = ParetoHalving(Halving(grace=1, eta=3, minimum=2, promote=False), TWO)
    good, bad = a_proposal(1, macs=1e6), a_proposal(2, macs=2e6)
    assert stopper.goes_on(good, epoch(1, 0.5))
    assert not stopper.goes_on(bad, epoch(1, 0.1))
    assert stopper.goes_on(bad, epoch(2, 0.1))  # no rung
    assert stopper.stopped(bad, epoch(1, 0.1)) == Stopped(rung=1, missing=2 / 3)


def test_what_is_known_before_counts_at_the_first_rung_and_what_is_measured_as_of_it():
    stopper = ParetoHalving(Halving(minimum=1, promote=False), {"miou": "max", "macs": "min", "latency_ms": "min"})
    assert stopper.goes_on(a_proposal(0, macs=1e6), epoch(1, 0.5, latency_ms=2.0))
    assert not stopper.goes_on(a_proposal(1, macs=1e6), epoch(1, 0.5, latency_ms=3.0))
    assert stopper.goes_on(a_proposal(2, macs=1e5), epoch(1, 0.1, latency_ms=3.0))


def test_what_was_recorded_before_a_restart_counts():
    stopper = ParetoHalving(Halving(grace=1, eta=2, minimum=3), TWO)
    for trial, miou in enumerate((0.5, 0.6)):
        stopper.record(trial, {"macs": 1e6}, epoch(1, miou))
    assert not stopper.goes_on(a_proposal(7, macs=2e6), epoch(1, 0.1))


def test_brackets_are_the_same_in_every_run_and_have_hyperbands_shares():
    options = Halving(brackets=3, eta=3)
    dealt = [bracket_of(options, trial, seed=7) for trial in range(3000)]
    assert dealt == [bracket_of(options, trial, seed=7) for trial in range(3000)]
    assert dealt != [bracket_of(options, trial, seed=8) for trial in range(3000)]
    # 9/3, 3/2 and 1/1 of 5.5, within four standard deviations.
    assert [dealt.count(b) / 3000 for b in range(3)] == pytest.approx([3 / 5.5, 1.5 / 5.5, 1 / 5.5], abs=0.037)
    assert {bracket_of(Halving(), trial, seed=7) for trial in range(50)} == {0}


def test_trials_of_different_brackets_are_not_compared():
    options = Halving(grace=1, eta=3, minimum=1, brackets=2, promote=False)
    stopper = ParetoHalving(options, TWO, seed=0)
    short = [t for t in range(40) if bracket_of(options, t, 0) == 0]
    long = [t for t in range(40) if bracket_of(options, t, 0) == 1]
    assert stopper.goes_on(a_proposal(short[0], macs=1.0), epoch(1, 0.5))
    assert not stopper.goes_on(a_proposal(short[1], macs=2.0), epoch(1, 0.4))
    assert stopper.goes_on(a_proposal(long[0], macs=2.0), epoch(1, 0.4))  # not its rung
    assert stopper.goes_on(a_proposal(short[0], macs=1.0), epoch(3, 0.6))
    assert stopper.goes_on(a_proposal(long[0], macs=2.0), epoch(3, 0.5))  # the first of its bracket
    assert stopper.stopped(a_proposal(long[0]), epoch(3, 0.5)) == Stopped(rung=3, missing=0.5)


# Promotion


def at_rung(stopper, trial, miou, macs=1.0, number=1):
    proposal = a_proposal(trial, macs=macs)
    if stopper.goes_on(proposal, epoch(number, miou)):
        return None
    return stopper.stopped(proposal, epoch(number, miou))


def test_a_paused_trial_goes_on_when_its_rung_has_filled():
    stopper = ParetoHalving(Halving(eta=2, minimum=1), {"miou": "max"})
    assert at_rung(stopper, 0, 0.5) is None
    assert at_rung(stopper, 1, 0.4) == Paused(rung=1, missing=4 / 5)
    assert stopper.promotable() is None
    assert at_rung(stopper, 2, 0.3) == Paused(rung=1, missing=4 / 5)
    assert stopper.promotable() == stopper.promotable() == 1
    stopper.promote(1)
    assert stopper.promotable() is None
    assert stopper.rest() == [(2, Stopped(rung=1, missing=4 / 5))]
    assert stopper.rest() == []


def test_the_highest_rung_is_served_first():
    stopper = ParetoHalving(Halving(eta=2, minimum=1), {"miou": "max"})
    for trial, miou in enumerate((0.9, 0.8)):
        stopper.record(trial, {}, epoch(1, miou))
        assert (at_rung(stopper, trial, miou, number=2) is None) == (trial == 0)
    at_rung(stopper, 2, 0.1)
    at_rung(stopper, 3, 0.2)
    for trial in (4, 5):
        at_rung(stopper, trial, 0.0)
    assert stopper.promotable() == 3
    at_rung(stopper, 6, 0.7, number=2)
    assert stopper.promotable() == 1


def test_what_more_trials_dominate_than_a_full_rung_has_places_is_let_go():
    stopper = ParetoHalving(Halving(eta=2, minimum=1), TWO, trials=4)
    assert at_rung(stopper, 0, 0.5) is None
    assert at_rung(stopper, 1, 0.4)
    assert stopper.lost() == []
    assert at_rung(stopper, 2, 0.6) is None
    assert stopper.lost() == [(1, Stopped(rung=1, missing=4 / 5))]
    assert at_rung(stopper, 3, math.nan)
    assert [trial for trial, _ in stopper.lost()] == [3]


@patient
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20), st.integers(2, 3))
def test_nobody_is_let_go_who_could_still_be_promoted(pairs, eta):
    options = Halving(eta=eta, minimum=1)
    limited = ParetoHalving(options, TWO, trials=len(pairs))
    endless = ParetoHalving(options, TWO)
    let_go = set()
    for trial, (miou, macs) in enumerate(pairs):
        for stopper in (limited, endless):
            at_rung(stopper, trial, float(miou), macs=float(macs))
        let_go |= {t for t, _ in limited.lost()}
        while (chosen := endless.promotable()) is not None:
            endless.promote(chosen)
            assert chosen not in let_go


@patient
@given(st.lists(st.integers(0, 30).map(float), min_size=1, max_size=30, unique=True), etas)
def test_promotion_lets_go_on_just_whom_asha_promotes(losses, eta):
    """With promotion, whoever is in the best 1/eta of the rung at any time has gone on."""
    ours, plain = ParetoHalving(Halving(eta=eta, minimum=1), {"miou": "max"}), Asha(eta, [1])
    going, expected = set(), set()
    for trial, loss in enumerate(losses):
        if at_rung(ours, trial, -loss) is None:
            going.add(trial)
        while (chosen := ours.promotable()) is not None:
            ours.promote(chosen)
            going.add(chosen)
        plain.goes_on(trial, 1, loss)
        expected |= {t for t in range(trial + 1) if plain.in_top(t, 1)}
        assert going == expected


def test_a_trial_that_a_killed_run_left_at_a_rung_is_judged_there():
    stopper = ParetoHalving(Halving(grace=1, eta=3, minimum=2), TWO)
    for trial, miou in enumerate((0.5, 0.6, 0.1)):
        stopper.record(trial, {"macs": 1e6}, epoch(1, miou))
    assert stopper.comes_back(a_proposal(1, done=1)) is None
    assert stopper.comes_back(a_proposal(2, done=1)) == Paused(rung=1, missing=2 / 3)
    assert stopper.comes_back(a_proposal(2, done=2)) is None  # no rung
    assert stopper.comes_back(a_proposal(9, done=1)) is None  # not recorded here
