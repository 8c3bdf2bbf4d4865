"""Tests and corrections, against published and hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nas.analysis.statistics import holm, paired, spread

# Student's own data (1908), hours of sleep gained by ten patients under two drugs; R's `t.test(..., paired = TRUE)` on its
# data set `sleep` prints t = -4.0621, df = 9, p-value = 0.002833, interval -2.4598858 to -0.7001142, mean -1.58.
FIRST = dict(enumerate([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]))
SECOND = dict(enumerate([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]))


def test_the_paired_test_gives_students_own_result():
    found = paired(FIRST, SECOND)
    assert found.n == 10
    assert found.mean == pytest.approx(-1.58)
    assert found.p == pytest.approx(0.002833, abs=5e-7)
    assert (found.low, found.high) == pytest.approx((-2.4598858, -0.7001142), abs=5e-8)


def test_only_seeds_that_both_have_are_paired():
    found = paired(FIRST | {99: 100.0}, SECOND | {-1: 100.0})
    assert found == paired(FIRST, SECOND)
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_it_sees_what_the_unpaired_test_does_not():
    chance = np.random.default_rng(0)
    luck = chance.normal(0, 1, 5)
    first = dict(enumerate(luck + 0.1 + chance.normal(0, 0.01, 5)))
    second = dict(enumerate(luck))
    assert paired(first, second).p < 0.001
    assert stats.ttest_ind(list(first.values()), list(second.values())).pvalue > 0.5


def test_false_alarms_come_as_often_as_the_level_says():
    chance = np.random.default_rng(1)
    ps = [
        paired(dict(enumerate(chance.normal(0, 1, 3))), dict(enumerate(chance.normal(0, 1, 3)))).p for _ in range(2000)
    ]
    assert np.mean(np.array(ps) < 0.05) == pytest.approx(0.05, abs=0.015)


def test_two_pairs_give_a_difference_and_no_test():
    found = paired({0: 0.5, 1: 0.7}, {0: 0.4, 1: 0.4})
    assert found.mean == pytest.approx(0.2)
    assert (found.n, found.p, found.low, found.high) == (2, None, None, None)


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_equal_differences_leave_no_spread_to_test_with(shift):
    second = {0: 0.1, 1: 0.2, 2: 0.3}
    found = paired({seed: value + shift for seed, value in second.items()}, second)
    assert found.mean == pytest.approx(shift)
    assert (found.p, found.low) == (None, None)


def test_holms_correction_by_hand_and_as_r_prints_it():
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_mean_and_deviation_of_few():
    assert spread([]) == (None, None)
    assert spread([0.5]) == (0.5, None)
    assert spread([1.0, 3.0]) == pytest.approx((2.0, 2.0**0.5))
