"""The front of many trials, of which only those that a sample does not beat are ever read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Protocol

import moocore
import numpy as np
import numpy.typing as npt

from nas.analysis.fronts import FINAL, maximised

WHOLE: Final = 100_000  # trials that are read as they are; of more, a sample first
SAMPLE: Final = 20_000

Values = npt.NDArray[np.float64]


class Points(Protocol):
    """Trials as arrays, oldest first."""

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Of the trials. (n,)"""

    @property
    def values(self) -> Values:
        """One column an objective. (n, objectives)"""

    @property
    def identities(self) -> npt.NDArray[np.str_]:
        """The key of each result, where it was asked for. (n,) or (0,)"""


class Read(Protocol):
    """A way to the trials: a share of all, or those that none of some points beats."""

    def __call__(self, *, share: float = 1.0, beyond: Values | None = None, identities: bool = False) -> Points:
        """Read them."""


class Skyline(NamedTuple):
    """What nothing beats.

    Args:
        ids: of the trials on the front, in the order of the first objective that is minimised. (k,)
        front: their objectives. (k, objectives)
        cloud: objectives of all that were compared, or of a sample of them. (n, objectives)
        cloud_ids: their trials. (n,)
        compared: how many there were in all; an estimate where they are a sample. [trials]
        whole: the cloud is no sample.
    """

    ids: npt.NDArray[np.int64]
    front: Values
    cloud: Values
    cloud_ids: npt.NDArray[np.int64]
    compared: int
    whole: bool


def skyline(read: Read, total: int, objectives: Mapping[str, str]) -> Skyline:
    """Find the front of what `read` reads.

    A network that was replayed is the one that was trained: of the same identity the oldest counts. Of more than
    `WHOLE` trials a sample is read first; what it beats cannot be on the front and need not be read. There, the same
    identity counts once on the front.

    Args:
        read: a way to the trials.
        total: how many there are before any condition; it decides whether a sample helps. [trials]
        objectives: name -> `max` or `min`.

    Raises:
        QueryError: there are no objectives, or a direction is neither.
    """
    goals = maximised(objectives)
    if total <= WHOLE:
        points = read(identities=True)
        first = _first(points.identities)
        ids, values = points.ids[first], points.values[first]
        cloud, cloud_ids, compared = values, ids, len(ids)
    else:
        share = SAMPLE / total
        sample = read(share=share)
        cloud, cloud_ids, compared = sample.values, sample.ids, round(len(sample.ids) / share)
        points = read(beyond=_strongest(sample.values, goals), identities=True)
        first = _first(points.identities)
        ids, values = points.ids[first], points.values[first]
    kept = unbeaten(values, goals)
    column = goals.index(False) if False in goals else 0
    order = np.flatnonzero(kept)[np.argsort(values[kept][:, column], kind="stable")]
    return Skyline(ids[order], values[order], cloud, cloud_ids, compared, total <= WHOLE)


def unbeaten(values: Values, goals: list[bool]) -> npt.NDArray[np.bool_]:
    """Which points no other dominates; equal ones stay together. (n,)"""
    if not len(values):
        return np.zeros(0, dtype=np.bool_)
    return np.asarray(moocore.is_nondominated(values, maximise=goals, keep_weakly=True), dtype=np.bool_)


def schedules(counts: Iterable[tuple[int, str, int, int]]) -> dict[int, int]:
    """The usual schedule of each study: the epochs that most of its final trials have; the longer one of two.

    Args:
        counts: study, state, epochs and how many trials.

    Returns:
        Study -> epochs; a study without final trials is not there.
    """
    tallies: dict[int, Counter[int]] = {}
    for study, state, epochs, trials in counts:
        if state in FINAL:
            tallies.setdefault(study, Counter())[epochs] += trials
    return {study: max(tally, key=lambda epochs: (tally[epochs], epochs)) for study, tally in tallies.items()}


def _first(identities: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """The places where an identity occurs for the first time."""
    return np.sort(np.unique(identities, return_index=True)[1])


def _strongest(values: Values, goals: list[bool]) -> Values | None:
    """The front of a sample, those first that together beat the most: few others need to be asked."""
    front = np.unique(values[unbeaten(values, goals)], axis=0)
    if not len(front):
        return None
    signs = np.where(goals, -1.0, 1.0)
    few = values[:: max(1, len(values) // 2000)] * signs
    beaten = np.asarray((front[:, None, :] * signs <= few[None, :, :]).all(axis=2))
    found: Values = front[_cover(beaten)]
    return found


def _cover(beaten: npt.NDArray[np.bool_]) -> list[int]:
    """Rows of a matrix, each the one that adds the most columns to those before it; what adds none comes last."""
    left = beaten.copy()
    order: list[int] = []
    while (gains := left.sum(axis=1)).max() > 0:
        order.append(int(gains.argmax()))
        left &= ~left[order[-1]]
    return order + sorted(set(range(len(beaten))) - set(order))
