"""Whether a difference between two ways of training is more than chance: pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

LEAST: Final = 3
"""Pairs below which there is no test: the interval of two is nine standard deviations wide on either side."""

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Paired:
    """The difference between two treatments over the seeds that both have.

    Args:
        n: pairs. [count]
        mean: of the differences.
        low: lower end of the 95 % interval of the mean; None where there is no test.
        high: upper end.
        p: two-sided, against no difference; None where there is no test.
    """

    n: int
    mean: float
    low: float | None = None
    high: float | None = None
    p: float | None = None


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Paired | None:
    """Compare two treatments by Student's t-test of the differences, seed by seed.

    Two trainings with the same seed share what chance has decided: the order of the samples, their augmentation and as
    much of the initial weights as the networks have in common. What they share cancels in the difference, so that the
    paired test sees smaller effects than one that takes the two groups as unrelated; where they share nothing it keeps
    its level and loses a little power. The t-test takes the differences as normally distributed. With three to five
    seeds that cannot be checked, and only effects of several standard deviations are found; tests on ranks need six
    pairs to reach 0.05 at all.

    Args:
        first: seed -> figure of the treatment.
        second: seed -> figure of what it is compared with.

    Returns:
        `first` minus `second`; without interval and p where fewer than `LEAST` seeds are in both, or where all
        differences are equal, which leaves no spread to compare them with. None where no seed is in both.
    """
    differences = np.array([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())])
    if not len(differences):
        return None
    mean = float(differences.mean())
    # Equal but for rounding is equal.
    spread = float(np.ptp(differences)) > 1e-12 * max(1.0, float(np.abs(differences).max()))
    if len(differences) < LEAST or not spread:
        return Paired(len(differences), mean)
    result = stats.ttest_1samp(differences, 0.0)
    interval = result.confidence_interval(CONFIDENCE)
    return Paired(len(differences), mean, float(interval.low), float(interval.high), float(result.pvalue))


def holm(values: Sequence[float]) -> list[float]:
    """Correct p-values for being several: the chance of any false alarm among them stays at the level.

    Holm's method rejects whatever Bonferroni's does and more, and assumes nothing of how the tests depend on each
    other; here all of them share the baseline's runs.

    Args:
        values: p-values.

    Returns:
        The corrected ones, in the same order.

    Source:
        Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected = [0.0] * len(values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = running
    return corrected


def spread(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation; None for what so few values do not have."""
    if not values:
        return None, None
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    return mean, float(np.std(values, ddof=1))
