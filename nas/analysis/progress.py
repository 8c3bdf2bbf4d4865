"""What a search had found when so much had been spent: the hypervolume of its front, trial by trial."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import moocore
import numpy as np
import numpy.typing as npt

from blocks.errors import QueryError, law
from nas.analysis.fronts import candidates, checked_reference, maximised

_CHUNK: Final = 4096  # trials that are laid beside the front at once
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def progress(
    rows: Sequence[Mapping[str, object]],
    objectives: Mapping[str, str],
    reference: Mapping[str, float],
    *,
    gpus: float = 1.0,
) -> list[dict[str, object]]:
    """Follow the front's hypervolume while the trials of a study end, one after another.

    Every trial is paid for, whatever became of it; only final results count for the front. A replay costs nothing.
    Trials come in the order in which they ended; those that have not ended come last.

    Args:
        rows: flat dicts with `number`, `state`, `epochs`, `train_seconds`, `ended` and the objectives; `identity` and
            `outside` are heeded where they are there.
        objectives: name -> `max` or `min`.
        reference: for each objective the worst value that still counts.
        gpus: accelerators that one trial used; `hours` are then GPU hours. [count]

    Returns:
        One dict a trial: `trial` (its number), `epochs` (trained by it and all before it), `hours` (the same),
        `hypervolume` (of the front so far, in the product of the objectives' units).

    Raises:
        QueryError: there are no objectives, a direction is neither, or the reference lacks one.
    """
    goals = maximised(objectives)
    worst = checked_reference(objectives, reference)
    ordered = sorted(rows, key=_moment)
    final = {id(row) for row in candidates(ordered, objectives)}
    places = [place for place, row in enumerate(ordered) if id(row) in final]
    points = np.array([[ordered[place][name] for name in objectives] for place in places], dtype=np.float64)
    signs = np.where(goals, -1.0, 1.0)
    volumes = dict(_improvements(points.reshape(len(places), len(signs)) * signs, worst * signs))
    found: list[dict[str, object]] = []
    epochs, seconds, volume, result = 0, 0.0, 0.0, 0
    for row in ordered:
        if row.get("state") != "replayed":
            epochs += int(_amount(row.get("epochs")))
            seconds += _amount(row.get("train_seconds"))
        if id(row) in final:
            volume = volumes.get(result, volume)
            result += 1
        hours = seconds * gpus / 3600
        found.append({"trial": row.get("number"), "epochs": epochs, "hours": hours, "hypervolume": volume})
    return found


def default_reference(rows: Sequence[Mapping[str, object]], objectives: Mapping[str, str]) -> dict[str, float]:
    """The reference point where nobody names one: 0 for what is maximised, the greatest final value for a cost.

    Without final results a cost's is 1.
    """
    known = candidates(rows, objectives)
    return {
        name: 0.0 if direction == "max" else max((_amount(row[name]) for row in known), default=1.0)
        for name, direction in objectives.items()
    }


def box(objectives: Mapping[str, str], reference: Mapping[str, float]) -> float:
    """The volume between a reference point and a perfect network at no cost: what a hypervolume can reach at most.

    Raises:
        QueryError: an objective has no such end: a cost that is to be as great as possible.
    """
    volume = 1.0
    for name, direction in objectives.items():
        if direction == "max" and not 0 <= reference[name] < 1:
            got = {name: reference[name]}
            remedy = "Scores lie between 0 and 1; put costs the other way round: NAME:min"
            raise QueryError(law("A reference of what is maximised", "a score of 0 or more, below 1", got, remedy))
        volume *= 1.0 - reference[name] if direction == "max" else reference[name]
    if volume <= 0:
        got = dict(reference)
        raise QueryError(law("A reference", "costs above 0", got, "Name one: --reference miou=0,macs=1e10"))
    return volume


def _improvements(points: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> Iterator[tuple[int, float]]:
    """The places of the points that enlarge the volume and how much it then is; all objectives are minimised."""
    front = np.empty((0, points.shape[1]))
    for start in range(0, len(points), _CHUNK):
        chunk = points[start : start + _CHUNK]
        beaten = (front[:, None, :] <= chunk[None, :, :]).all(axis=2).any(axis=0)
        for place in np.flatnonzero(~beaten & (chunk < reference).all(axis=1)):
            point = chunk[place]
            if (front <= point).all(axis=1).any():
                continue
            front = np.vstack([front[~(point <= front).all(axis=1)], point])
            yield start + int(place), float(moocore.hypervolume(front, ref=reference))


def _moment(row: Mapping[str, object]) -> tuple[datetime, int]:
    ended, number = row.get("ended"), row.get("number")
    moment = ended if isinstance(ended, datetime) else _LAST
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC), number if isinstance(number, int) else 0


def _amount(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
