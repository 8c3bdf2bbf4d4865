"""The sampler `surrogate`: proposes the network that promises to add most to the front.

Costs are known, or nearly so, before anything is trained: what is uncertain of a network is its score alone. So the
hypervolume that it may be expected to add is an integral over the cost axes: at every cost that it would fit in, the
expected improvement on the best score that is known for so little. No sampling, no scales to choose, and every cost
range gets its share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import norm, qmc

from blocks.options import Value
from nas.propose.pool import Pool
from nas.propose.surrogate import Array, Encoder, Seen, Surrogate
from nas.space import Candidate, Space

Costs = Callable[[Candidate], Mapping[str, float] | None]
_Surveyed = tuple[Candidate, Array, Mapping[str, float]]

_SURVEY = 48  # candidates that are costed before anything is proposed
_POINTS = 128  # at which the cost axes are looked at
_MOST = 250  # scores that the model takes in, and costs
_FEW = 24  # known ones; up to them a model is fitted anew for each
_GROWTH = 1.2  # of what is known beyond them, from one fit of a model to the next: fits cost more than predictions
_MARGIN = 0.1  # of the cost range, beyond its end: else the costliest network could add nothing


@dataclass(slots=True)
class _Known:
    """What is known of one trial."""

    trial: int
    answers: Mapping[str, Value]
    place: Array
    epochs: int  # planned
    costs: dict[str, float] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    training: bool = False
    failed: bool = False
    ended: int | None = None  # how many others had before it


class Modelled:
    """Remembers what is known of a study, and proposes.

    Args:
        space: the questions, one score among the objectives, costs among objectives and budget. Reading a space with
            this sampler has made sure of the score.
        costs: counts what a candidate costs, or None where nobody knows or it cannot be built.
    """

    def __init__(self, space: Space, costs: Costs) -> None:
        startup = dict(space.search.sampler.options)["startup"]
        assert isinstance(startup, int)  # its bounds say so
        self._space = space
        self._seed = space.search.seed
        self._startup = startup
        self._score = next(name for name, goal in space.objectives.items() if goal == "max")
        self._axes = tuple(name for name, goal in space.objectives.items() if goal == "min")
        self._budget = dict(space.budget)
        self._costs = costs
        self._encoder = Encoder(space.questions())
        self._pool = Pool(space, self._encoder)
        self._scores = Surrogate(self._encoder)
        self._priced = {name: Surrogate(self._encoder) for name in dict.fromkeys((*self._axes, *self._budget))}
        self._known: dict[int, _Known] = {}
        self._ended = 0
        self._surveyed: list[tuple[Candidate, Array, Mapping[str, float]]] | None = None

    # What it hears

    def begin(self, trial: int, answers: Mapping[str, Value], epochs: int, costs: Mapping[str, float]) -> None:
        """A trial has been recorded; it is not necessarily trained."""
        place = self._encoder(answers)
        self._pool.take(place)
        self._known[trial] = _Known(
            trial, answers, place, epochs, {name: float(value) for name, value in costs.items()}
        )

    def train(self, trial: int) -> None:
        """It is in training from now on."""
        self._known[trial].training = True

    def hear(self, trial: int, epoch: int, figures: Mapping[str, Any]) -> None:
        """It has come to the end of an epoch with these figures."""
        known = self._known[trial]
        known.costs |= self._measured(figures)
        value = figures[self._score]
        if value is not None and math.isfinite(value):
            known.scores[epoch] = float(value)

    def end(self, trial: int, row: Mapping[str, Any]) -> None:
        """It has ended as recorded; a replayed one brings its result along."""
        known = self._known[trial]
        known.training = False
        if known.ended is None:
            known.ended, self._ended = self._ended, self._ended + 1
        known.failed = row["state"] == "failed"
        if row["state"] == "rejected" and row["exceeded"] in self._priced:
            known.costs[row["exceeded"]] = float(row["exceeded_value"])
        known.costs |= self._measured(row)
        if row["state"] == "replayed":
            known.scores[known.epochs] = float(row[self._score])

    def _measured(self, figures: Mapping[str, Any]) -> dict[str, float]:
        return {name: float(figures[name]) for name in self._priced if figures.get(name) is not None}

    def recall(self, row: Mapping[str, Any], costs: Mapping[str, float], epochs: Iterable[Mapping[str, Any]]) -> None:
        """What an earlier run of the study has recorded of a trial."""
        self.begin(row["number"], row["answers"], row["epochs_planned"], costs)
        for epoch in epochs:
            self.hear(row["number"], epoch["epoch"], epoch)
        self.end(row["number"], row)

    # What it proposes

    def propose(self) -> Candidate | None:
        """The most promising candidate that was not proposed before, or None where the pool holds no other."""
        if self._surveyed is None:
            self._surveyed = self._survey()
        rng = np.random.default_rng([self._seed, len(self._known)])
        scored = [known for known in self._known.values() if known.scores]
        if len(self._known) < self._startup or len(scored) < 2:
            return self._spread(rng, self._surveyed)
        candidates, places = self._pool.candidates(rng, [known.answers for known in self._best(scored)])
        if not candidates:
            return None
        gains, order = self._gains(places, scored), rng.permutation(len(candidates))
        # Among equals chance decides, not their order.
        best = candidates[int(order[np.argmax(gains[order])])]
        self._pool.take(self._encoder(best.answers))
        return best

    def _survey(self) -> list[_Surveyed]:
        """Candidates with their costs, the same ones in a resumed search."""
        drawn = self._pool.drawn(np.random.default_rng([self._seed, 0]), _SURVEY, of_all=True)
        costed = ((candidate, place, self._costs(candidate)) for candidate, place in drawn)
        return [(candidate, place, costs) for candidate, place, costs in costed if costs is not None]

    def _spread(self, rng: np.random.Generator, surveyed: Iterable[_Surveyed]) -> Candidate | None:
        """A surveyed candidate where the cost range has been covered least."""
        free = self._affordable([s for s in surveyed if not self._pool.taken(s[1])])
        if not free:
            return self._cheapest(rng)
        axis = next((name for name in self._axes if all(name in costs for _, _, costs in free)), None)
        chosen = free[int(rng.integers(len(free)))]
        begun = [math.log(k.costs[axis]) for k in self._known.values() if axis is not None and k.costs.get(axis)]
        if axis is not None and begun:
            chosen = max(free, key=lambda s: min(abs(math.log(s[2][axis]) - other) for other in begun))
        elif axis is not None:
            chosen = min(free, key=lambda s: s[2][axis])
        self._pool.take(chosen[1])
        return chosen[0]

    def _affordable(self, surveyed: list[_Surveyed]) -> list[_Surveyed]:
        """Those within the limits; what is measured in training is guessed."""
        counted = [s for s in surveyed if all(s[2].get(name, 0.0) <= limit for name, limit in self._budget.items())]
        measured = [name for name in self._budget if not all(name in s[2] for s in counted)]
        if not counted or not measured:
            return counted
        excess = self._excess(np.array([place for _, place, _ in counted]), measured)
        return [s for s, over in zip(counted, excess, strict=True) if not over]

    def _cheapest(self, rng: np.random.Generator) -> Candidate | None:
        """A candidate by chance; where a limit is in the way, the one of many that promises to be least over it."""
        drawn = self._pool.drawn(rng, _SURVEY)
        if not drawn:
            return None
        candidate, place = drawn[int(np.argmin(self._excess(np.array([place for _, place in drawn]), self._budget)))]
        self._pool.take(place)
        return candidate

    def _excess(self, places: Array, limits: Iterable[str]) -> Array:
        """How far each is believed to be over these limits, in logarithms; 0 where it is within, or nobody knows."""
        over = [self._predicted(name, places) - math.log(self._budget[name]) for name in limits]
        return sum((np.maximum(np.nan_to_num(excess), 0.0) for excess in over), np.zeros(len(places)))

    def _best(self, scored: Iterable[_Known]) -> list[_Known]:
        """Networks worth looking around: those that no other dominates, by the last score of each."""
        rivals = list(scored)
        points = np.array(
            [[-k.scores[max(k.scores)], *(k.costs.get(name, math.inf) for name in self._axes)] for k in rivals]
        )
        better = np.asarray((points[:, None] <= points).all(2) & (points[:, None] < points).any(2))
        return [known for n, known in enumerate(rivals) if not better[:, n].any()]

    def _gains(self, places: Array, scored: list[_Known]) -> Array:
        """The hypervolume that each may be expected to add, on logarithms of the costs."""
        seen = self._seen(scored)
        self._scores.fit(self._seen(_settled(scored)))
        ended = [k for k in scored if k.epochs in k.scores and not k.training and not k.failed]
        running = [(t, k) for t, k in self._known.items() if k.training]
        believed = np.zeros(0)
        if running:
            # What is in training counts as what it is believed to become: others then look elsewhere.
            at, trials = np.array([k.place for _, k in running]), np.array([t for t, _ in running], dtype=np.float64)
            believed, _ = self._scores.predict(seen, at, trials)
            seen = Seen(
                np.vstack([seen.places, at]),
                np.r_[seen.left, np.zeros(len(running))],
                np.r_[seen.trials, trials],
                np.r_[seen.values, believed],
            )
        mean, spread = self._scores.predict(seen, places, np.full(len(places), -1.0))
        prices = {name: self._predicted(name, places) for name in self._axes}
        scores = np.r_[[k.scores[k.epochs] for k in ended], believed]
        bought = np.array([self._spent(k) for k in [*ended, *(k for _, k in running)]])
        if self._axes:
            # A cost of which nothing is known makes no difference yet.
            axes = np.nan_to_num(np.stack([prices[n] for n in self._axes], 1))
            gains = _expected(mean, spread, axes, scores, np.nan_to_num(bought))
        else:
            gains = _improvement(mean, spread, scores.max(initial=0.0))
        excess = self._excess(places, self._budget)
        # What is over a limit comes after all that is within, the nearest first.
        return np.where(excess > 0, -excess, gains)

    def _spent(self, known: _Known) -> list[float]:
        return [
            math.log(known.costs[name]) if name in known.costs else float(self._predicted(name, known.place[None])[0])
            for name in self._axes
        ]

    def _seen(self, scored: list[_Known]) -> Seen:
        """The scores that the model takes in: the last one of each trial, and those a halving of the schedule apart."""
        rows: list[tuple[Array, float, float, float]] = []
        for known in reversed(scored):
            told = ((math.log2(known.epochs / e), known.scores[e]) for e in _told(known))
            rows += [(known.place, halvings, float(known.trial), score) for halvings, score in told]
            if len(rows) >= _MOST:
                break
        places, left, trials, values = zip(*rows, strict=True)
        return Seen(np.array(places), np.array(left), np.array(trials), np.array(values))

    def _predicted(self, name: str, places: Array) -> Array:
        """The logarithm of a cost; not a number while nobody knows any."""
        known = [(place, costs[name]) for _, place, costs in self._surveyed or () if costs.get(name)]
        known += [(k.place, k.costs[name]) for k in self._known.values() if k.costs.get(name)]
        if not known:
            return np.full(len(places), math.nan)
        self._priced[name].fit(_prices(known[: _milestone(len(known))]))
        return self._priced[name].predict(_prices(known), places, np.full(len(places), -1.0))[0]


def _milestone(count: int) -> int:
    """How many of so many known ones a model is fitted to: the same for a while, so that the fit can stay."""
    if count <= _FEW:
        return count
    steps = math.floor(math.log(count / _FEW) / math.log(_GROWTH) + 1e-9)
    return min(count, math.ceil(_FEW * _GROWTH**steps))


def _settled(scored: list[_Known]) -> list[_Known]:
    """The trials that the model of scores is fitted to: of those that have ended, the first, as many as a milestone."""
    ended = sorted((k for k in scored if k.ended is not None), key=lambda k: k.ended or 0)
    return ended[: _milestone(len(ended))] if len(ended) > 1 else scored


def _prices(known: Sequence[tuple[Array, float]]) -> Seen:
    """The logarithms of the latest costs."""
    at, values = zip(*known[-_MOST:], strict=True)
    return Seen(np.array(at), np.zeros(len(at)), np.arange(len(at), dtype=np.float64), np.log(values))


def _told(known: _Known) -> list[int]:
    """The last epoch, and those at whole halvings of the schedule."""
    last = max(known.scores)
    halvings = (known.epochs // 2**n for n in range(1, known.epochs.bit_length()))
    return sorted({last, *(epoch for epoch in halvings if epoch in known.scores)})


def _expected(mean: Array, spread: Array, prices: Array, scores: Array, bought: Array) -> Array:
    """Expected hypervolume improvement where costs are known.

    Args:
        mean: (m,) of the score.
        spread: (m,) its standard deviation.
        prices: (m, costs) logarithms.
        scores: (n,) of what is known, or believed.
        bought: (n, costs) their costs, likewise.

    Returns:
        (m,) the volume that each adds, as a share of the cost range: above a score of 0, up to `_MARGIN` beyond the
        highest cost.
    """
    every = np.vstack([prices, bought.reshape(-1, prices.shape[1])])
    low, high = every.min(0), every.max(0)
    high = high + _MARGIN * (high - low)
    axes = prices.shape[1]
    # One axis is cut into even steps; several are covered by a net that is as even as few points can be.
    unit = (
        (np.arange(_POINTS)[:, None] + 0.5) / _POINTS if axes == 1 else qmc.Sobol(axes, scramble=False).random(_POINTS)
    )
    at = low + unit * np.where(high > low, high - low, 1.0)
    best = np.zeros(len(at))
    for score, cost in zip(scores, bought, strict=True):
        best = np.where((cost <= at).all(1), np.maximum(best, score), best)
    fits = (prices[:, None, :] <= at[None]).all(2)
    return np.asarray((_improvement(mean[:, None], spread[:, None], best[None]) * fits).mean(1))


def _improvement(mean: Array, spread: Array, best: Array | float) -> Array:
    """Expected improvement (Mockus, 1975; Jones et al., 1998, eq. 15)."""
    above = (mean - best) / spread
    return np.asarray(spread * (above * norm.cdf(above) + norm.pdf(above)))
