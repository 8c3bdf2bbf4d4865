"""A rung that has to prove itself: it stops nobody before it ranks trials as their end does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from blocks.architecture import Architecture, Component
from runners.halving import ParetoHalving
from runners.protocol import Epoch, Halving, Paused, Proposal, Protocol, Stopped
from runners.rung import agreement, hopeful

EPOCHS = 4
TRUST = Halving(grace=1, eta=2, minimum=1, trust=0.5)
TWO = {"miou": "max", "macs": "min"}
SCORE = {"miou": "max"}


def proposal_of(trial, macs=1.0, epochs=EPOCHS):
    protocol = Protocol(
        data=Component("shapes"),
        data_fingerprint="x",
        size=(64, 64),
        classes=2,
        image_channels=3,
        training=(("epochs", epochs),),
        main=(),
        coarse=(),
    )
    architecture = Architecture(backbone=Component("b"))
    return Proposal(trial=trial, architecture=architecture, protocol=protocol, seed=0, known={"macs": macs})


def epoch_of(number, miou):
    figures = {"loss": 1.0, "pixel_accuracy": 0.5, "learning_rate": 0.1, "seconds": 1.0, "train_memory_bytes": 0}
    return Epoch(epoch=number, miou=miou, class_iou=(), **figures)


def trained(stopper, trial, early, final, macs=1.0):
    """Train to the end, or to where it stops; returns the epochs, and how it ended there."""
    proposal = proposal_of(trial, macs)
    for number in range(1, EPOCHS + 1):
        epoch = epoch_of(number, final if number == EPOCHS else early)
        if not stopper.goes_on(proposal, epoch):
            return number, stopper.stopped(proposal, epoch)
    return EPOCHS, None


def test_a_rung_stops_nobody_until_five_have_finished():
    stopper = ParetoHalving(TRUST, SCORE)
    for trial in range(5):  # each worse than all before it
        assert trained(stopper, trial, 0.9 - 0.1 * trial, 0.9 - 0.1 * trial) == (EPOCHS, None)
    assert trained(stopper, 5, 0.1, 0.1) == (1, Paused(rung=1, missing=2 / 3))
    assert trained(stopper, 6, 0.95, 0.95) == (EPOCHS, None)


def test_without_trust_the_second_is_stopped_at_once():
    stopper = ParetoHalving(Halving(grace=1, eta=2, minimum=1), SCORE)
    trained(stopper, 0, 0.9, 0.9)
    assert trained(stopper, 1, 0.8, 0.8)[0] == 1


def test_where_curves_cross_everyone_is_kept():
    stopper = ParetoHalving(TRUST, SCORE)
    for trial in range(20):
        early = 0.1 + 0.04 * ((7 * trial) % 20)
        assert trained(stopper, trial, early, 1.0 - early) == (EPOCHS, None)


def test_those_that_waited_go_on_when_trust_is_lost():
    stopper = ParetoHalving(TRUST, SCORE, trials=8)
    for trial in range(5):
        trained(stopper, trial, 0.9 - 0.1 * trial, 0.9 - 0.1 * trial)
    assert trained(stopper, 5, 0.1, 0.8) == (1, Paused(rung=1, missing=2 / 3))
    # Three that begin best end worst: those at rung 1 waited for nothing.
    for trial in range(6, 9):
        trained(stopper, trial, 0.95 + 0.01 * trial, 0.3 - 0.1 * (trial - 6))
    # More are ahead of it than the rung has places, but being ahead there means nothing now.
    assert stopper.lost() == []
    assert stopper.promotable() == 5
    stopper.promote(5)
    assert stopper.promotable() is None
    assert trained(stopper, 9, 0.01, 0.5) == (EPOCHS, None)


def test_while_it_is_trusted_those_without_hope_are_let_go():
    stopper = ParetoHalving(TRUST, SCORE, trials=8)
    for trial in range(5):
        trained(stopper, trial, 0.9 - 0.1 * trial, 0.9 - 0.1 * trial)
    trained(stopper, 5, 0.1, 0.1)
    assert stopper.lost() == [(5, Stopped(rung=1, missing=2 / 3))]


def test_trust_lost_is_won_back_by_those_that_follow():
    stopper = ParetoHalving(TRUST, SCORE)
    for trial in range(5):
        trained(stopper, trial, 0.1 * trial, 0.9 - 0.1 * trial)
    for trial in range(5, 40):
        if trained(stopper, trial, trial / 40, trial / 40) != (EPOCHS, None):
            break
    assert trained(stopper, 50, 0.01, 0.01)[0] == 1


def test_what_is_no_number_at_its_end_says_nothing():
    stopper = ParetoHalving(TRUST, SCORE)
    for trial in range(4):
        trained(stopper, trial, 0.9 - 0.1 * trial, 0.9 - 0.1 * trial)
    for trial in range(4, 8):
        assert trained(stopper, trial, 0.5, math.nan) == (EPOCHS, None)
    assert trained(stopper, 8, 0.1, 0.1) == (EPOCHS, None)  # it is the fifth
    assert trained(stopper, 9, 0.05, 0.05)[0] == 1


def test_one_that_diverged_is_stopped_by_any_rung():
    assert trained(ParetoHalving(TRUST, SCORE), 0, math.nan, 0.5)[0] == 1


def test_costs_that_training_does_not_move_are_not_asked():
    """All networks cost what they cost: only the score can be ranked wrongly."""
    early = np.array([[-0.1, 3.0], [-0.2, 1.0], [-0.3, 2.0]])
    final = np.array([[-0.4, 3.0], [-0.5, 1.0], [-0.6, 2.0]])
    assert agreement(early, final) == 1.0
    assert agreement(early, np.array([[-0.6, 3.0], [-0.5, 1.0], [-0.4, 2.0]])) == -1.0
    stopper = ParetoHalving(TRUST, TWO)
    for trial in range(5):
        trained(stopper, trial, 0.9 - 0.1 * trial, 0.9 - 0.1 * trial, macs=5.0 - trial)
    assert trained(stopper, 5, 0.1, 0.1, macs=9.0)[0] == 1


def test_equal_scores_agree_with_nothing_and_unmoved_ones_with_everything():
    equal = np.full((5, 1), 0.5)
    assert agreement(equal, equal) == 1.0
    assert agreement(equal, np.arange(5.0)[:, None]) == -1.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(10, 19)), min_size=5, max_size=12), st.floats(-1, 1))
def test_it_is_trusted_just_where_kendalls_tau_says_so(pairs, asked):
    stopper = ParetoHalving(Halving(grace=1, eta=2, minimum=1, trust=asked), SCORE)
    early, final = zip(*pairs, strict=True)
    for trial, (first, last) in enumerate(pairs):
        stopper.record(trial, {}, epoch_of(1, float(first)))
        stopper.finish(trial, {}, epoch_of(EPOCHS, float(last)))
    tau = kendalltau(early, final).statistic
    going = stopper.goes_on(proposal_of(99), epoch_of(1, -1.0))
    assert going == (not (-1.0 if math.isnan(tau) else tau) >= asked)


@pytest.mark.parametrize("trials", [5, 30])
def test_in_any_order_the_same_is_decided(trials):
    """A resumed run hears of trials by their number, not as they ended."""
    rng = np.random.default_rng(0)
    heard = [(n, float(a), float(a + b)) for n, (a, b) in enumerate(rng.uniform(0, 0.4, (trials, 2)))]
    decided = []
    for order in (heard, heard[::-1]):
        stopper = ParetoHalving(TRUST, SCORE)
        for trial, early, final in order:
            stopper.record(trial, {}, epoch_of(1, early))
            stopper.finish(trial, {}, epoch_of(EPOCHS, final))
        decided.append([stopper.goes_on(proposal_of(100 + n), epoch_of(1, n / 10)) for n in range(5)])
    assert decided[0] == decided[1]


SAFE = Halving(grace=1, eta=2, minimum=1, safe=True)


def test_safe_stops_nobody_until_ten_have_finished_and_then_only_the_hopeless():
    stopper = ParetoHalving(SAFE, SCORE)
    for trial in range(10):  # each gains 0.2 but the last, which gains 0.4; the best ends at 0.7
        score = 0.5 - 0.02 * trial
        assert trained(stopper, trial, score, score + (0.4 if trial == 9 else 0.2)) == (EPOCHS, None)
    assert trained(stopper, 10, 0.28, 0.5)[0] == 1  # 0.68 at most
    assert trained(stopper, 11, 0.33, 0.5) == (EPOCHS, None)  # 0.73, where the best ends at 0.72
    # Without it, that is not among the better half.
    plain = ParetoHalving(Halving(grace=1, eta=2, minimum=1, promote=False), SCORE)
    for trial in range(5):
        trained(plain, trial, 0.5 - 0.05 * trial, 0.7)
    assert trained(plain, 6, 0.36, 0.5)[0] == 1


def test_safe_weighs_what_a_network_costs():
    stopper = ParetoHalving(SAFE, TWO)
    for trial in range(10):
        trained(stopper, trial, 0.5, 0.7, macs=10.0)
    assert trained(stopper, 10, 0.2, 0.3, macs=11.0)[0] == 1
    assert trained(stopper, 11, 0.2, 0.3, macs=9.0) == (EPOCHS, None)


def test_what_waited_goes_on_when_another_shows_how_much_can_be_gained():
    stopper = ParetoHalving(SAFE, TWO, trials=8)
    for trial in range(10):
        trained(stopper, trial, 0.6, 0.65)
    assert trained(stopper, 10, 0.3, 0.8) == (1, Paused(rung=1, missing=2 / 3))
    assert stopper.lost() == []  # whoever is ahead of it: that may change
    assert stopper.promotable() is None
    assert trained(stopper, 11, 0.62, 1.0, macs=2.0) == (EPOCHS, None)  # 0.3 + 0.38 is more than 0.65
    assert stopper.promotable() == 10


POINTS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=12)
ENDED = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(-4, 2)), min_size=0, max_size=20)


@given(POINTS, ENDED)
@settings(deadline=None)
def test_hope_is_lost_just_where_the_largest_gain_would_not_help(points, ended):
    """By the definition, one point and one finished trial at a time; the second objective is a cost, which stays."""
    here = np.array(points, dtype=np.float64)
    early = np.array([(a, b) for a, b, _ in ended], dtype=np.float64).reshape(-1, 2)
    final = np.array([(a + c, b) for a, b, c in ended], dtype=np.float64).reshape(-1, 2)
    gain = min([0, *(c for _, _, c in ended)])
    for point, hope in zip(points, hopeful(here, early, final), strict=True):
        best = (point[0] + gain, point[1])
        beaten = any(f[0] <= best[0] and f[1] <= best[1] and tuple(f) != best for f in final.tolist())
        assert hope == (len(ended) < 10 or not beaten)


@given(POINTS, ENDED, st.sampled_from([0.25, 2.0, 1024.0]), st.sampled_from([0.0, -3.0, 64.0]))
@settings(deadline=None)
def test_hope_knows_no_units_and_no_order(points, ended, factor, shift):
    here = np.array(points, dtype=np.float64)
    early = np.array([(a, b) for a, b, _ in ended], dtype=np.float64).reshape(-1, 2)
    final = np.array([(a + c, b) for a, b, c in ended], dtype=np.float64).reshape(-1, 2)
    units = np.array([factor, 1.0])
    found = hopeful(here, early, final)
    moved = [values * units + shift for values in (here, early, final)]
    assert found.tolist() == hopeful(*moved).tolist()
    assert found[::-1].tolist() == hopeful(here[::-1], early[::-1], final[::-1]).tolist()


def test_what_is_no_number_has_no_hope():
    points = np.array([[math.nan, 0.0], [0.0, 0.0]])
    assert hopeful(points, np.zeros((0, 2)), np.zeros((0, 2))).tolist() == [False, True]
    stopper = ParetoHalving(SAFE, SCORE)
    assert trained(stopper, 0, math.nan, 0.5)[0] == 1
