"""Rank points of several objectives: by non-domination, and inside a front by how it spreads them.

Pure functions of the points. Nothing here depends on the order of the points, nor on scale or unit of an objective.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import moocore
import numpy as np
from numpy.typing import NDArray

from runners.protocol import Spread

Points = NDArray[np.float64]

# What is equal in exact arithmetic must stay equal when an objective is written in another unit.
_DECIMALS = 9


def best(points: Points, quota: int, spread: Spread = "crowding") -> NDArray[np.bool_]:
    """Mark the points that have fewer than `quota` others ahead of them.

    Args:
        points: (n, objectives), all to be minimised, finite.
        quota: how many places there are; those who share the last one all get it. [count]
        spread: what makes a place inside a front good: see `crowding` and `epsilon_net`.

    Whole fronts come first; spread decides in the one that does not fit, on objectives scaled to [0, 1] there.
    """
    # Equal points count once: a copy must not make its twin look crowded, nor may their order matter.
    unique, back, copies = np.unique(points, axis=0, return_inverse=True, return_counts=True)
    fronts = np.asarray(moocore.pareto_rank(unique))
    behind = np.cumsum(np.bincount(fronts, weights=copies))  # points in this front and those before it
    last = int(np.searchsorted(behind, quota))
    chosen = fronts <= last
    if last < len(behind) and behind[last] > quota:
        members = np.flatnonzero(fronts == last)
        place = _SPREADS[spread](_scaled(unique[members]))
        before = behind[last - 1] if last else 0
        ahead = before + (place[None, :] < place[:, None]) @ copies[members]
        chosen[members] = ahead < quota
    return np.asarray(chosen[back.ravel()])


def crowding(front: Points) -> Points:
    """Minus the crowding distance of NSGA-II (Deb et al., 2002, sec. III-B): the lonelier, the better.

    Args:
        front: (n, objectives), scaled to [0, 1], no two points equal.

    The ends of a front come first, all alike.
    """
    total = np.zeros(len(front))
    for values in front.T:
        by_value = np.argsort(values, kind="stable")
        if values[by_value[-1]] == values[by_value[0]]:
            continue
        total[by_value[[0, -1]]] = np.inf
        total[by_value[1:-1]] += values[by_value[2:]] - values[by_value[:-2]]
    return -np.round(total, _DECIMALS)


def epsilon_net(front: Points) -> Points:
    """The step at which a growing net takes a point in: first the best of each objective, then always the farthest.

    Args:
        front: (n, objectives), scaled to [0, 1], no two points equal.

    Any number of first points then covers the front about as evenly as so many can (Schmucker et al., 2021, sec. 3.2,
    begin with an arbitrary point instead, and so depend on the order of the points). Points at equal distance are
    taken in together.
    """
    step = np.where((front == front.min(axis=0)).any(axis=1), 0.0, -1.0)
    apart = _distances(front, front[step == 0]).min(axis=1)
    level = 0.0
    while (left := step < 0).any():
        level += 1.0
        chosen = left & (apart == apart[left].max())
        step[chosen] = level
        apart = np.minimum(apart, _distances(front, front[chosen]).min(axis=1))
    return step


def _scaled(points: Points) -> Points:
    low, width = points.min(axis=0), np.ptp(points, axis=0)
    return np.asarray((points - low) / np.where(width > 0, width, 1.0), dtype=np.float64)


def _distances(points: Points, others: Points) -> Points:
    apart = np.linalg.norm(points[:, None, :] - others[None, :, :], axis=-1)
    return np.asarray(np.round(apart, _DECIMALS), dtype=np.float64)


_SPREADS: Mapping[Spread, Callable[[Points], Points]] = {"crowding": crowding, "epsilon_net": epsilon_net}
