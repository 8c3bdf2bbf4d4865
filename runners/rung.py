"""One rung: who reached it with which objectives, and who waits there to go on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from runners.protocol import Halving, Spread, Stopped
from runners.ranking import Points, best

Values = tuple[float, ...]

_FINALS = 5  # finished trials without which nobody knows how well a rung ranks
_GAINS = 10  # finished trials without which nobody knows how much may be gained from it on


def goes_on(points: Points, *, eta: int, minimum: int, spread: Spread = "crowding") -> NDArray[np.bool_]:
    """Mark the points that are among the best 1/eta of what their rung has seen so far.

    Args:
        points: (n, objectives) that reached the rung, all to be minimised; a point that is not finite never goes on.
        eta: the best 1/eta go on, rounded up.
        minimum: with fewer points than this, everyone goes on. [count]
        spread: who goes first inside a front.
    """
    finite = np.asarray(np.isfinite(points).all(axis=1))
    rivals = points[finite]
    chosen = finite.copy()
    if len(rivals) >= minimum:
        chosen[finite] = best(rivals, -(-len(rivals) // eta), spread)
    return chosen


def agreement(early: Points, final: Points) -> float:
    """How far a rung ranks trials as their end does: Kendall's tau-b, the least of all objectives that training moves.

    Args:
        early: (n, objectives) at the rung.
        final: (n, objectives) of the same trials at the end of their schedules.
    """
    moved = [axis for axis in range(early.shape[1]) if (early[:, axis] != final[:, axis]).any()]
    taus = [float(kendalltau(early[:, axis], final[:, axis]).statistic) for axis in moved]
    # Where all are equal there is no ranking to agree with.
    return min((-1.0 if math.isnan(tau) else tau for tau in taus), default=1.0)


def hopeful(points: Points, early: Points, final: Points) -> NDArray[np.bool_]:
    """Mark the points that no finished trial would dominate if they gained as much as any of those has.

    Args:
        points: (n, objectives) at a rung, all to be minimised; a point that is not finite has no hope.
        early: (m, objectives) of the finished trials at that rung, likewise.
        final: (m, objectives) of the same at the end of their schedules.
    """
    known = np.isfinite(early).all(axis=1) & np.isfinite(final).all(axis=1)
    hopes = np.asarray(np.isfinite(points).all(axis=1))
    if known.sum() < _GAINS:
        return hopes
    hoped = points + np.minimum((final[known] - early[known]).min(axis=0), 0.0)
    no_worse = (final[known][:, None] <= hoped[None]).all(axis=2)
    better = (final[known][:, None] < hoped[None]).any(axis=2)
    return np.asarray(hopes & ~(no_worse & better).any(axis=0))


@dataclass(slots=True)
class _Waiting:
    """A trial that does not go on now and may later."""

    stopped: Stopped  # what it ends as if it never does
    dominators: float  # trials that stay ahead of it for good


class Rung:
    """Remembers points and asks `goes_on`.

    Args:
        options: of early stopping.
    """

    def __init__(self, options: Halving) -> None:
        self._options = options
        self._points: dict[int, Values] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._finals: dict[int, Values] = {}
        self._trust: bool | None = options.trust is None  # None: something has changed
        self._best: frozenset[int] | None = frozenset()  # None: something has changed

    def __contains__(self, trial: int) -> bool:
        return trial in self._points

    def add(self, trial: int, values: Values) -> None:
        """A trial has reached it, with these objectives, all to be minimised."""
        if trial not in self._points:
            for other, waiting in self._waiting.items():
                waiting.dominators += _dominates(values, self._points[other])
        self._points[trial] = values
        self._best = None

    def finish(self, trial: int, values: Values) -> None:
        """A trial that was here has come to the end of its schedule: what the rung is judged by."""
        options = self._options
        if trial in self._points and (options.safe or options.trust is not None):
            self._finals[trial] = values
            self._best = None
            if options.trust is not None:
                self._trust = None

    @property
    def trusted(self) -> bool:
        """Whether it may stop anyone: it ranks those that finished as their end does, and there are five of them."""
        if self._trust is None:
            early, final = self._ended()
            finite = np.isfinite(early).all(axis=1) & np.isfinite(final).all(axis=1)
            asked = -1.0 if self._options.trust is None else self._options.trust
            self._trust = int(finite.sum()) >= _FINALS and agreement(early[finite], final[finite]) >= asked
        return self._trust

    def _ended(self) -> tuple[Points, Points]:
        """Those that finished, as they were here and as they ended."""
        shape = (len(self._finals), -1 if self._finals else 1)
        early = np.array([self._points[trial] for trial in self._finals], dtype=np.float64).reshape(shape)
        return early, np.array(list(self._finals.values()), dtype=np.float64).reshape(shape)

    def best(self) -> frozenset[int]:
        """The trials that go on now: the best 1/eta; all while the rung is not trusted; if `safe`, all with hope."""
        if self._best is None:
            options, points = self._options, np.array(list(self._points.values()), dtype=np.float64)
            eta = options.eta if self.trusted else 1
            marks = goes_on(points, eta=eta, minimum=options.minimum, spread=options.spread)
            if options.safe:
                marks = marks | hopeful(points, *self._ended())
            self._best = frozenset(trial for trial, mark in zip(self._points, marks, strict=True) if mark)
        return self._best

    def wait(self, trial: int, stopped: Stopped) -> None:
        """A trial that reached it does not go on now."""
        mine = self._points[trial]
        ahead = sum(_dominates(values, mine) for values in self._points.values())
        # What is not a number is compared with nothing and never goes on.
        self._waiting[trial] = _Waiting(stopped, ahead if np.isfinite(mine).all() else math.inf)

    def leave(self, trial: int) -> Stopped:
        """A trial waits no longer; return what it would have ended as."""
        return self._waiting.pop(trial).stopped

    def promotable(self) -> frozenset[int]:
        """The trials that wait and are among the best 1/eta now."""
        return self.best() & self._waiting.keys() if self._waiting else frozenset()

    def waiting(self, dominators: float = 0) -> list[int]:
        """The trials that wait with at least so many trials ahead of them for good.

        Where the rung is not trusted, or stops only what is hopeless, nobody is ahead of anybody, but for those that
        are not numbers.
        """
        if dominators and (self._options.safe or not self.trusted):
            dominators = math.inf
        return [trial for trial, waiting in self._waiting.items() if waiting.dominators >= dominators]


def _dominates(a: Values, b: Values) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))
