"""How well a short training ranks networks as the long one does: pure functions of pairs of scores."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from blocks.errors import QueryError, law
from nas.analysis.fronts import candidates
from nas.analysis.statistics import CONFIDENCE

LEAST: Final = 3
"""Networks below which there is no ranking to speak of."""

_INTERVAL: Final = 10  # networks below which the interval says less than it seems to
_RESAMPLES: Final = 2_000
_ROWS: Final = 512  # networks compared with all others at once

Scores = npt.NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]


class Top(NamedTuple):
    """What choosing the best k by the proxy gives.

    Args:
        k: how many are chosen. [count]
        shared: of them, how many are among the best k of the full schedule. [count]
        chance: how many a random choice would share with it, on average. [count]
        regret: what the best of them lacks to the best of all, under the full schedule.
    """

    k: int
    shared: int
    chance: float
    regret: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a proxy's ranking agrees with the full schedule's.

    Args:
        n: networks that both have. [count]
        tau: Kendall's tau-b; None where all scores of one side are equal.
        low: lower end of its 95 % interval; None with fewer than ten networks.
        high: upper end.
        spearman: correlation of the ranks; None where tau is.
        top: what choosing the best k gives.
        regret: what the proxy's best network lacks to the best of all, under the full schedule.
    """

    n: int
    tau: float | None
    low: float | None
    high: float | None
    spearman: float | None
    top: Top
    regret: float


class Pair(NamedTuple):
    """One network under both recipes: means over its trials in either.

    Args:
        row: facts of it.
        scores: under the proxy, under the full schedule.
        trials: how many there are of either. [count]
        seconds: what one of either took; NaN where that is not known. [s]
    """

    row: Mapping[str, Any]
    scores: tuple[float, float]
    trials: tuple[int, int]
    seconds: tuple[float, float]


class Pairs(NamedTuple):
    """What two studies have in common.

    Args:
        found: architectures that finished in both, in the order of the second.
        same: architectures that were trained the same way in both, which says nothing; they are left out. [count]
    """

    found: list[Pair]
    same: int


def paired_networks(proxy: Rows, full: Rows, name: str) -> Pairs:
    """Find the architectures with final results in both studies under different protocols.

    Args:
        proxy: flat rows with `state`, `identity`, `fingerprint`, `protocol_fingerprint`, `train_seconds` and the score.
        full: the same, of the other study.
        name: of the score.
    """
    ours, theirs = (_by_network(candidates(rows, {name: "max"})) for rows in (proxy, full))
    found, same = [], 0
    for key in theirs.keys() & ours.keys():
        both = ours[key], theirs[key]
        first, second = ({row["protocol_fingerprint"] for row in rows} for rows in both)
        if first & second:
            same += 1
        else:
            scores = [_mean([row[name] for row in rows]) for rows in both]
            # A replay took no time, and says nothing of what the training took.
            seconds = [_mean([row["train_seconds"] for row in rows if row["state"] != "replayed"]) for rows in both]
            counts = len(both[0]), len(both[1])
            found.append(Pair(both[1][0], (scores[0], scores[1]), counts, (seconds[0], seconds[1])))
    return Pairs(sorted(found, key=lambda pair: int(pair.row["number"])), same)


def _by_network(rows: Rows) -> dict[object, list[Mapping[str, Any]]]:
    found: dict[object, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["fingerprint"], []).append(row)
    return found


def _mean(values: Sequence[float | None]) -> float:
    known = [float(value) for value in values if value is not None]
    return statistics.fmean(known) if known else math.nan


def agreement(proxy: Sequence[float], full: Sequence[float], *, top: int = 10) -> Agreement:
    """Compare two rankings of the same networks; more is better in both.

    The interval is the percentile bootstrap over networks. A network that is drawn twice ties with itself on both
    sides, which tau-b leaves out of account.

    Args:
        proxy: the scores after the short training.
        full: those after the long one, of the same networks in the same order.
        top: how many networks would be trained in full; at most half of them are taken. [count]

    Raises:
        QueryError: there are fewer than `LEAST` networks.
    """
    short, long = np.asarray(proxy, dtype=np.float64), np.asarray(full, dtype=np.float64)
    if len(short) < LEAST:
        needs, remedy = f"{LEAST} networks that finished under both", "Train more of them with both recipes"
        raise QueryError(law("The agreement of two rankings", needs, {"networks": len(short)}, remedy))
    low, high = _interval(short, long) if len(short) >= _INTERVAL else (None, None)
    return Agreement(
        n=len(short),
        tau=_known(stats.kendalltau(short, long).statistic),
        low=low,
        high=high,
        spearman=_spearman(short, long),
        top=chosen(short, long, max(1, min(top, len(short) // 2))),
        regret=chosen(short, long, 1).regret,
    )


def chosen(proxy: Scores, full: Scores, k: int) -> Top:
    """What the best `k` by the proxy are worth; of equal scores the first counts as better."""
    ours, best = (np.argsort(-scores, kind="stable")[:k] for scores in (proxy, full))
    shared = len(set(ours.tolist()) & set(best.tolist()))
    return Top(k, shared, k * k / len(full), float(full.max() - full[ours].max()))


def _interval(proxy: Scores, full: Scores) -> tuple[float | None, float | None]:
    """The middle 95 % of tau over resampled networks; the same every time."""
    n = len(full)
    times = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), _RESAMPLES).astype(np.float32)
    taus = _resampled(proxy, full, times)
    known = taus[np.isfinite(taus)]
    if len(known) < _RESAMPLES / 2:
        return None, None
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _resampled(proxy: Scores, full: Scores, times: npt.NDArray[np.float32]) -> Scores:
    """Kendall's tau-b of many resamples at once; `times` says how often each holds each network, one row each.

    A call of scipy for each would take a hundred times as long.
    """
    sums = np.zeros((3, len(times)))  # agreements less disagreements; pairs not tied by the proxy; by the full schedule
    for start in range(0, len(full), _ROWS):
        rows = slice(start, start + _ROWS)
        ours = np.sign(proxy[rows, None] - proxy).astype(np.float32)
        theirs = np.sign(full[rows, None] - full).astype(np.float32)
        for place, pairs in enumerate((ours * theirs, np.abs(ours), np.abs(theirs))):
            sums[place] += ((times[:, rows] @ pairs) * times).sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[0] / np.sqrt(sums[1] * sums[2]))


def _spearman(proxy: Scores, full: Scores) -> float | None:
    if not np.ptp(proxy) or not np.ptp(full):
        return None
    # Ranks' correlation, as a number: what spearmanr returns is typed as a matrix, too.
    return float(np.corrcoef(stats.rankdata(proxy), stats.rankdata(full))[0, 1])


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
