"""Questions about fronts: which trials are compared, what nothing beats, and how far the others are from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nas.analysis.fronts import FINAL, maximised
from nas.analysis.seeds import NEEDED, grouped
from nas.analysis.skyline import Points, Skyline, Values, schedules, skyline, unbeaten

EARLY: Final = ("stopped", "paused", "interrupted", "running")
"""States whose last figures are those of a schedule that was not trained to its end."""

Row = dict[str, Any]
Seeds = Literal["all", "mean"]
_CHUNK: Final = 4096


class Reader(Protocol):
    """What is asked of a store."""

    def counted(self, study_ids: Collection[int]) -> Sequence[tuple[int, str, int, int]]:
        """Study, state, epochs and how many trials."""

    def points(
        self,
        studies: Mapping[int, int],
        objectives: Mapping[str, str],
        *,
        states: Collection[str],
        where: str | None = None,
        under: Mapping[str, float] | None = None,
        share: float = 1.0,
        beyond: Values | None = None,
        identities: bool = False,
    ) -> Points:
        """The objectives of trials, as arrays."""

    def rows(self, ids: Sequence[int], columns: Iterable[str]) -> list[Row]:
        """Flat rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which trials are compared in what.

    Args:
        studies: whose trials: ids.
        objectives: name -> `max` or `min`.
        where: a condition.
        under: column -> the greatest value allowed.
        early: take what was stopped, waits or is in training, and what has fewer epochs than is usual in its study.
        seeds: `all` trials for themselves, or the `mean` of those that differ in the seed alone.
    """

    studies: tuple[int, ...]
    objectives: Mapping[str, str]
    where: str | None = None
    under: Mapping[str, float] = field(default_factory=dict)
    early: bool = False
    seeds: Seeds = "all"


class Answer(NamedTuple):
    """What nothing beats.

    Args:
        front: flat rows, in the order of the first objective that is minimised.
        cloud: objectives of all that were compared, or of a sample. (n, objectives)
        cloud_ids: their trials. (n,)
        compared: how many there were; an estimate unless `whole`. [points]
        whole: the cloud is no sample.
        schedules: study -> epochs of its usual schedule.
        left_out: why -> how many trials that have epochs were not compared.
    """

    front: list[Row]
    cloud: Values
    cloud_ids: npt.NDArray[np.int64]
    compared: int
    whole: bool
    schedules: dict[int, int]
    left_out: dict[str, int]


def ask(reader: Reader, question: Question, columns: Iterable[str]) -> Answer:
    """Answer with the front.

    Raises:
        QueryError: the condition, a column or an objective makes no sense.
    """
    counts = reader.counted(question.studies)
    usual = schedules(counts)
    read = _reading(reader, question, usual)
    asked = tuple(dict.fromkeys((*columns, *question.objectives)))
    if question.seeds == "mean":
        found, front = _of_means(reader, question, read, asked)
    else:
        total = sum(n for _, state, _, n in counts if state in _states(question))
        found = skyline(read, total, question.objectives)
        front = reader.rows(found.ids.tolist(), (*asked, "state", "epochs", "study"))
    left = {} if question.early else left_out(counts, usual)
    return Answer(front, found.cloud, found.cloud_ids, found.compared, found.whole, usual, left)


def others(reader: Reader, question: Question, answer: Answer, columns: Iterable[str], limit: int) -> list[Row]:
    """The trials that are not on the front, those nearest to it first.

    Each has `<objective>_missing`, for the first objective that is maximised: how much less it has than the best trial
    of the front that is no worse in all the others. And `distance`: to the nearest trial of the front, each objective
    divided by its range over all that are compared.

    Args:
        reader: the store.
        question: as it was asked.
        answer: that it got.
        columns: of the rows.
        limit: rows at most, 0 for all. [count]
    """
    asked = tuple(dict.fromkeys((*columns, *question.objectives)))
    read = _reading(reader, question, answer.schedules)
    rows: list[Row] | None = None
    if question.seeds == "mean":
        rows = _means(reader, question, read, asked)
        values = _values(rows, question.objectives)
        ids = np.arange(len(rows))
    elif answer.whole:
        ids, values = answer.cloud_ids, answer.cloud
    else:
        points = read()
        ids, values = points.ids, points.values
    goals = maximised(question.objectives)
    front = _values(answer.front, question.objectives)
    missing, distance = distances(values, front, goals)
    nearest = np.lexsort((missing, distance))
    nearest = nearest[distance[nearest] > 0][: limit or None]
    found = [rows[i] for i in nearest] if rows is not None else reader.rows(ids[nearest].tolist(), (*asked, "state"))
    gap = f"{_scored(question.objectives)}_missing"
    extra = zip(missing[nearest].tolist(), distance[nearest].tolist(), strict=True)
    return [row | {gap: lacks, "distance": far} for row, (lacks, far) in zip(found, extra, strict=True)]


def best_under(
    reader: Reader, question: Question, limits: Sequence[Mapping[str, float]], columns: Iterable[str]
) -> list[Row | None]:
    """For each set of limits the trial that is best in the first objective that is maximised, or None.

    Of equally good ones, the one with the least of what is limited.
    """
    name = _scored(question.objectives)
    asked = (*columns, *dict.fromkeys(column for limit in limits for column in limit))
    found: list[Row | None] = []
    for limit in limits:
        one = replace(question, objectives={name: question.objectives[name]}, under={**question.under, **limit})
        front = ask(reader, one, asked).front
        found.append(min(front, key=lambda row: [row[column] for column in limit], default=None))
    return found


def distances(
    values: Values, front: Values, goals: Sequence[bool]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How far points are from a front: what is missing, and the Euclidean distance, as in `others`. (n,) and (n,)"""
    if not len(values) or not len(front):
        return np.zeros(len(values)), np.zeros(len(values))
    place = goals.index(True) if True in goals else 0
    signs = np.where(np.asarray(goals), -1.0, 1.0)
    points, best = values * signs, front * signs
    spread = np.ptp(values, axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    rest = [axis for axis in range(len(goals)) if axis != place]
    missing, distance = np.zeros(len(values)), np.zeros(len(values))
    for start in range(0, len(values), _CHUNK):
        part = points[start : start + _CHUNK, None, :]
        cheaper = (best[None, :, rest] <= part[:, :, rest]).all(axis=2)
        reach = np.where(cheaper, best[None, :, place], np.inf).min(axis=1)
        gap = part[:, 0, place] - reach
        missing[start : start + _CHUNK] = np.where(np.isfinite(gap), np.maximum(gap, 0.0), 0.0)
        far = np.sqrt((((part - best[None]) / scale) ** 2).sum(axis=2)).min(axis=1)
        distance[start : start + _CHUNK] = far
    return missing, distance


def left_out(counts: Iterable[tuple[int, str, int, int]], usual: Mapping[int, int]) -> dict[str, int]:
    """How many trials have epochs and are not final, by the reason: their state, or `shorter`."""
    found: Counter[str] = Counter()
    for study, state, epochs, trials in counts:
        if state in EARLY and epochs > 0:
            found[state] += trials
        elif state in FINAL and epochs < usual.get(study, 0):
            found["shorter"] += trials
    return dict(found)


def _states(question: Question) -> tuple[str, ...]:
    return (*sorted(FINAL), *EARLY) if question.early else tuple(sorted(FINAL))


def _reading(reader: Reader, question: Question, usual: Mapping[int, int]) -> partial[Points]:
    least = {study: 0 if question.early else usual.get(study, 0) for study in question.studies}
    states = _states(question)
    return partial(reader.points, least, question.objectives, states=states, where=question.where, under=question.under)


def _scored(objectives: Mapping[str, str]) -> str:
    return next((name for name, direction in objectives.items() if direction == "max"), next(iter(objectives)))


def _values(rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str]) -> Values:
    found = np.array([[row[name] for name in objectives] for row in rows], dtype=np.float64)
    return found.reshape(len(rows), len(objectives))


def _means(reader: Reader, question: Question, read: partial[Points], columns: Sequence[str]) -> list[Row]:
    ids = read().ids.tolist()
    rows = reader.rows(ids, dict.fromkeys((*columns, *NEEDED, "state", "epochs")))
    return grouped(rows, question.objectives)


def _of_means(
    reader: Reader, question: Question, read: partial[Points], columns: Sequence[str]
) -> tuple[Skyline, list[Row]]:
    goals = maximised(question.objectives)
    rows = _means(reader, question, read, columns)
    values = _values(rows, question.objectives)
    places = np.flatnonzero(unbeaten(values, goals))
    axis = goals.index(False) if False in goals else 0
    places = places[np.argsort(values[places, axis], kind="stable")]
    first = np.array([row["id"] for row in rows], dtype=np.int64)
    found = Skyline(first[places], values[places], values, first, len(rows), True)
    return found, [rows[place] for place in places]
