"""Pareto fronts of rows: which trials nothing beats, in which layers the others follow, how much they cover."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal, TypeVar

import moocore
import numpy as np
import numpy.typing as npt

from blocks.errors import QueryError, law, nearest

Direction = Literal["max", "min"]
Row = TypeVar("Row", bound=Mapping[str, object])

FINAL: Final = frozenset({"finished", "replayed"})
"""States whose figures are those of the full schedule."""

_MORE_IS_BETTER: Final = frozenset({"miou", "miou_best", "pixel_accuracy"})


def direction_of(name: str) -> Direction:
    """Which way a figure is better: scores upwards, everything that costs something downwards."""
    return "max" if name in _MORE_IS_BETTER or name.startswith("iou.") else "min"


def candidates(
    rows: Sequence[Row], objectives: Mapping[str, str], *, states: Collection[str] | None = FINAL
) -> list[Row]:
    """The rows that can be compared: in one of `states` (None: any) and with a number for every objective.

    A network that was replayed is the one that was trained: of rows with the same `identity` the first counts. What is
    `outside` of its study's space, because that was edited, does not.
    """
    seen: set[object] = set()
    found = []
    for row in rows:
        if row.get("outside") or (states is not None and row.get("state") not in states):
            continue
        if not all(_is_number(row.get(name)) for name in objectives):
            continue
        identity = row.get("identity")
        if identity is None or identity not in seen:
            seen.add(identity)
            found.append(row)
    return found


def front(rows: Sequence[Row], objectives: Mapping[str, str], *, states: Collection[str] | None = FINAL) -> list[Row]:
    """The rows that no other row dominates, in the order of the first objective that is minimised.

    Rows that are equal in every objective are all kept.

    Args:
        rows: flat dicts.
        objectives: name -> `max` or `min`.
        states: which trials count; None counts all.

    Raises:
        QueryError: there are no objectives, or a direction is neither.
    """
    compared = candidates(rows, objectives, states=states)
    maximise = maximised(objectives)
    if not compared:
        return []
    kept = moocore.is_nondominated(_points(compared, objectives), maximise=maximise, keep_weakly=True)
    axis = next((name for name, direction in objectives.items() if direction == "min"), next(iter(objectives)))
    return sorted((row for row, keep in zip(compared, kept, strict=True) if keep), key=lambda row: _number(row[axis]))


def layers(
    rows: Sequence[Row], objectives: Mapping[str, str], *, states: Collection[str] | None = FINAL
) -> list[list[Row]]:
    """The front, then the front of what is left without it, and so on.

    Raises:
        QueryError: there are no objectives, or a direction is neither.
    """
    compared = candidates(rows, objectives, states=states)
    maximise = maximised(objectives)
    if not compared:
        return []
    ranks = moocore.pareto_rank(_points(compared, objectives), maximise=maximise)
    found: list[list[Row]] = [[] for _ in range(int(ranks.max()) + 1)]
    for row, rank in zip(compared, ranks, strict=True):
        found[int(rank)].append(row)
    return found


def hypervolume(
    rows: Sequence[Row],
    objectives: Mapping[str, str],
    reference: Mapping[str, float],
    *,
    states: Collection[str] | None = FINAL,
) -> float:
    """The volume between the front and a reference point: larger is better.

    Args:
        rows: flat dicts.
        objectives: name -> `max` or `min`.
        reference: for each objective the worst value that still counts.
        states: which trials count; None counts all.

    Raises:
        QueryError: there are no objectives, a direction is neither, or the reference lacks one.
    """
    maximise = maximised(objectives)
    ref = checked_reference(objectives, reference)
    compared = candidates(rows, objectives, states=states)
    if not compared:
        return 0.0
    return float(moocore.hypervolume(_points(compared, objectives), ref=ref, maximise=maximise))


def checked_reference(objectives: Mapping[str, str], reference: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """A reference point in the order of the objectives.

    Raises:
        QueryError: it lacks one.
    """
    if missing := [name for name in objectives if not _is_number(reference.get(name))]:
        raise QueryError(law("A reference", "a number for each objective", {"missing": missing}, "Add them"))
    return np.array([reference[name] for name in objectives], dtype=np.float64)


def maximised(objectives: Mapping[str, str]) -> list[bool]:
    """For each objective whether more is better.

    Raises:
        QueryError: there are no objectives, or a direction is neither `max` nor `min`.
    """
    if not objectives:
        raise QueryError(law("A front", "at least one objective", {"objectives": {}}, "Name some: miou, macs"))
    for name, direction in objectives.items():
        if direction not in ("max", "min"):
            near = nearest(direction, ("max", "min"))
            raise QueryError(law(f"The objective {name}", "max or min", {"direction": direction}, near))
    return [direction == "max" for direction in objectives.values()]


def _points(rows: Sequence[Mapping[str, object]], objectives: Mapping[str, str]) -> npt.NDArray[np.float64]:
    return np.array([[_number(row[name]) for name in objectives] for row in rows], dtype=np.float64)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(value: object) -> float:
    assert isinstance(value, int | float)  # `candidates` has seen to it
    return float(value)
