"""Who of a rung is best: what the ranking promises, on random points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from runners.ranking import best, crowding, epsilon_net

# Few distinct values, so that ties and copies are common.
points = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 14), st.integers(1, 3)), elements=st.integers(0, 5).map(float)
)
spreads = st.sampled_from(["crowding", "epsilon_net"])
quotas = st.integers(1, 8)

patient = settings(deadline=None)


def dominates(a, b):
    return bool((a <= b).all() and (a < b).any())


def ranks(rung, spread):
    """The least quota with which each point is among the best."""
    chosen = np.array([best(rung, quota, spread) for quota in range(1, len(rung) + 1)])
    return chosen.argmax(axis=0) + 1


@patient
@given(points, quotas, spreads, st.randoms(use_true_random=False))
def test_the_order_of_the_points_does_not_matter(rung, quota, spread, random):
    shuffled = list(range(len(rung)))
    random.shuffle(shuffled)
    assert (best(rung[shuffled], quota, spread) == best(rung, quota, spread)[shuffled]).all()


@patient
@given(points, quotas, spreads)
def test_equal_points_share_their_place(rung, quota, spread):
    chosen = best(rung, quota, spread)
    for i, a in enumerate(rung):
        for j, b in enumerate(rung):
            if (a == b).all():
                assert chosen[i] == chosen[j]


@patient
@given(points, quotas, spreads, st.tuples(st.floats(1e-12, 1e12), st.integers(-1000, 1000), st.integers(0, 2)))
def test_neither_scale_nor_unit_of_an_objective_matters(rung, quota, spread, unit):
    (scale, shift, which), moved = unit, rung.copy()
    moved[:, which % rung.shape[1]] = scale * (moved[:, which % rung.shape[1]] + shift)
    assert (best(moved, quota, spread) == best(rung, quota, spread)).all()


@patient
@given(points, spreads)
def test_a_dominated_point_never_ranks_before_or_beside_its_dominator(rung, spread):
    rank = ranks(rung, spread)
    for i, a in enumerate(rung):
        for j, b in enumerate(rung):
            if dominates(a, b):
                assert rank[i] < rank[j]


@patient
@given(points, quotas, spreads)
def test_a_front_that_fits_is_chosen_whole(rung, quota, spread):
    on_front = np.array([not any(dominates(other, point) for other in rung) for point in rung])
    if on_front.sum() <= quota:
        assert best(rung, quota, spread)[on_front].all()


@patient
@given(points, quotas, spreads)
def test_every_place_is_taken_and_only_equals_share_the_last(rung, quota, spread):
    chosen = best(rung, quota, spread)
    assert chosen.sum() >= min(quota, len(rung))
    if chosen.sum() > quota:
        rank = ranks(rung, spread)
        assert (rank[chosen] == rank[chosen].max()).sum() > chosen.sum() - quota


def test_the_lonelier_of_a_front_come_first():
    front = np.array([[0.0, 1.0], [0.1, 0.6], [0.2, 0.5], [0.6, 0.2], [1.0, 0.0]])
    place = crowding(front)
    assert np.isinf(place[[0, 4]]).all()
    # The neighbours of each: 0.2 + 0.5, 0.5 + 0.4, 0.8 + 0.5.
    assert -place[1:4] == pytest.approx([0.7, 0.9, 1.3])


def test_a_net_begins_with_the_best_of_each_objective_and_goes_where_it_is_farthest():
    front = np.array([[0.0, 1.0], [0.05, 0.9], [0.5, 0.5], [0.8, 0.3], [1.0, 0.0]])
    assert epsilon_net(front).tolist() == [0.0, 3.0, 1.0, 2.0, 0.0]
