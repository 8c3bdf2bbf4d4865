"""Early stopping that respects the whole front: successive halving, ranked by non-domination and spread.

The decision is a pure function of the points that a rung has seen; `ParetoHalving` only remembers the points. Every
runner uses the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import moocore
import numpy as np
from numpy.typing import NDArray

from runners.protocol import Epoch, Halving, Proposal, Stopped

Points = NDArray[np.float64]


def order(points: Points) -> list[tuple[int, float]]:
    """Give each point a sort key, best first: its front (0 is not dominated), then minus its spread inside that front.

    Args:
        points: (n, objectives), all to be minimised, finite.

    Spread is the crowding distance of NSGA-II (Deb et al., 2002, sec. III-B) on objectives scaled to [0, 1] per front,
    so neither scale nor unit matters; the ends of a front have infinite spread, and equal points share a key.
    """
    fronts = np.asarray(moocore.pareto_rank(points))
    spread = np.zeros(len(points))
    for front in np.unique(fronts):
        members = np.flatnonzero(fronts == front)
        spread[members] = _crowding(points[members])
    return [(int(f), -float(s)) for f, s in zip(fronts, spread, strict=True)]


def _crowding(points: Points) -> NDArray[np.float64]:
    # Equal points count once: a copy must not make its twin look crowded, nor may their order matter.
    unique, back = np.unique(points, axis=0, return_inverse=True)
    total = np.zeros(len(unique))
    for values in unique.T:
        by_value = np.argsort(values, kind="stable")
        width = values[by_value[-1]] - values[by_value[0]]
        if width == 0:
            continue
        total[by_value[[0, -1]]] = np.inf
        total[by_value[1:-1]] += (values[by_value[2:]] - values[by_value[:-2]]) / width
    return np.asarray(total[back.ravel()], dtype=np.float64)


def goes_on(points: Points, index: int, *, eta: int, minimum: int) -> bool:
    """Decide whether the point at `index` is among the best 1/eta that its rung has seen so far.

    Args:
        points: (n, objectives) that reached the rung, all to be minimised; a point that is not finite never goes on.
        index: whose turn it is.
        eta: the best 1/eta go on, rounded up.
        minimum: with fewer points than this, everyone goes on. [count]
    """
    if not np.isfinite(points[index]).all():
        return False
    finite = np.asarray(np.isfinite(points).all(axis=1))
    rivals = points[finite]
    if len(rivals) < minimum:
        return True
    keys = order(rivals)
    mine = keys[int(finite[:index].sum())]
    ahead = sum(key < mine for key in keys)
    return ahead < -(-len(rivals) // eta)


def rungs(options: Halving, epochs: int) -> tuple[int, ...]:
    """List the epochs at which trials of a schedule are compared: grace, grace x eta, ... below its end."""
    levels, level = [], options.grace
    while level < epochs:
        levels.append(level)
        level *= options.eta
    return tuple(levels)


class ParetoHalving:
    """Remember who reached which rung with which objectives, and ask `goes_on`.

    Args:
        options: grace, eta and minimum.
        objectives: name -> `max` or `min`; a name is looked up in `Proposal.known`, else in the epoch's metrics.
    """

    def __init__(self, options: Halving, objectives: Mapping[str, str]) -> None:
        self._options = options
        self._objectives = dict(objectives)
        self._rungs: dict[int, dict[int, tuple[float, ...]]] = {}

    def goes_on(self, proposal: Proposal, epoch: Epoch) -> bool:
        """Record the trial where this epoch is a rung, and say whether it trains another epoch."""
        if epoch.epoch not in rungs(self._options, proposal.epochs):
            return True
        rung = self.record(proposal.trial, proposal.known, epoch)
        members = list(rung)
        points = np.array([rung[m] for m in members], dtype=np.float64)
        index = members.index(proposal.trial)
        return goes_on(points, index, eta=self._options.eta, minimum=self._options.minimum)

    def record(self, trial: int, known: Mapping[str, float], epoch: Epoch) -> Mapping[int, tuple[float, ...]]:
        """Remember a trial at a rung, without judging it, and return the rung."""
        values = asdict(epoch) | dict(known)
        rung = self._rungs.setdefault(epoch.epoch, {})
        rung[trial] = tuple(
            float("nan") if values.get(name) is None else (-values[name] if goal == "max" else values[name])
            for name, goal in self._objectives.items()
        )
        return rung

    def stopped(self, proposal: Proposal, epoch: Epoch) -> Stopped:
        """Word the outcome of a trial that does not go on after this epoch."""
        levels = rungs(self._options, proposal.epochs)
        # The end of the schedule is the last rung.
        left = sum(level > epoch.epoch for level in levels) + 1
        return Stopped(rung=epoch.epoch, missing=left / (len(levels) + 1))
