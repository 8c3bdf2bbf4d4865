"""What a front asks of the store: counts, and the objectives of many trials as arrays, of which SQL drops most.

A store may hold a million trials and more. So a front is found in two reads: a random sample of the trials, and then
those that no trial of the sample beats. Both are answered by one index over the narrow columns of `trial`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Float,
    Integer,
    Select,
    Table,
    and_,
    cast,
    func,
    literal,
    not_,
    or_,
    select,
)
from sqlalchemy.sql import visitors

from blocks.errors import QueryError, law, nearest
from nas.store.columns import FLAT, JOINED, canonical, is_numeric
from nas.store.queries import Row, conditions
from nas.store.schema import FINAL, architecture, cost, study, trial

_CLASS = re.compile(r"iou\.(\d{1,4})")
_SCATTER: Final = 2_654_435_761  # Knuth's multiplicative hash: ids that follow each other land far apart
_RANGE: Final = 1 << 32
_FETCHED: Final = 10_000  # rows at a time
_BOUND: Final = 500  # values in one IN (...)
_BEATERS: Final = 200  # points that one query compares with


@dataclass(frozen=True, slots=True)
class Selection:
    """Which trials are compared.

    Args:
        studies: id -> epochs that a trial needs at least. [epochs]
        states: of the trials.
        where: a condition: see `nas.store.where`.
        under: column -> the greatest value allowed.
    """

    studies: Mapping[int, int]
    states: Collection[str] = FINAL
    where: str | None = None
    under: Mapping[str, float] = field(default_factory=dict)


class Points(NamedTuple):
    """Trials as arrays.

    Args:
        ids: of the trials. (n,)
        values: one column an objective. (n, objectives)
        identities: the key of each result, where it was asked for. (n,) or (0,)
    """

    ids: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    identities: npt.NDArray[np.str_]


class Count(NamedTuple):
    """How many trials of a study are in a state with so many epochs."""

    study_id: int
    state: str
    epochs: int
    trials: int


def counts(connection: Connection, study_ids: Collection[int]) -> list[Count]:
    """Count trials by study, state and epochs; the index alone answers it."""
    keys = (trial.c.study_id, trial.c.state, trial.c.epochs)
    query = select(*keys, func.count()).where(trial.c.study_id.in_(study_ids)).group_by(*keys).order_by(*keys)
    return [Count(*row) for row in connection.execute(query)]


def points(
    connection: Connection,
    selection: Selection,
    objectives: Mapping[str, str],
    *,
    share: float = 1.0,
    beyond: npt.NDArray[np.float64] | None = None,
    identities: bool = False,
) -> Points:
    """Read the trials of a selection that have a value for every objective.

    Args:
        connection: to the store.
        selection: which trials.
        objectives: name -> `max` or `min`.
        share: of the trials to read; which, is left to chance, and the same each time.
        beyond: only trials that none of these points beats; the first are asked first. (k, objectives)
        identities: read them, too.

    Raises:
        QueryError: the condition or a column makes no sense.
    """
    query = _compared(connection, selection, objectives)
    if share < 1:
        scattered = cast(trial.c.id, BigInteger) * _SCATTER % _RANGE
        query = query.where(scattered < int(share * _RANGE))
    if beyond is not None:
        query = query.where(not_(_beaten(objectives, beyond[:_BEATERS])))
    if identities:
        query = query.add_columns(trial.c.identity)
    width = len(objectives)
    ids, values, keys = [np.empty(0, dtype=np.int64)], [np.empty((0, width))], [np.empty(0, dtype=np.str_)]
    for part in connection.execute(query).partitions(_FETCHED):
        ids.append(np.array([row[0] for row in part], dtype=np.int64))
        values.append(np.array([row[1 : 1 + width] for row in part], dtype=np.float64))
        keys.append(np.array([row[-1] for row in part] if identities else [], dtype=np.str_))
    return _ordered(np.concatenate(ids), np.concatenate(values), np.concatenate(keys))


def _ordered(ids: npt.NDArray[np.int64], values: npt.NDArray[np.float64], identities: npt.NDArray[np.str_]) -> Points:
    """Oldest first, without what is no number."""
    order = np.argsort(ids, kind="stable")
    order = order[np.isfinite(values[order]).all(axis=1)]
    return Points(ids[order], values[order], identities[order] if len(identities) else identities)


def input_of(connection: Connection, study_ids: Collection[int]) -> tuple[int, int, int] | None:
    """Height [px], width [px] and classes that the costs of a study's trials are stated for; None without trials."""
    source = trial.join(cost, trial.c.cost_id == cost.c.id)
    query = select(cost.c.height, cost.c.width, cost.c.classes).select_from(source)
    found = connection.execute(query.where(trial.c.study_id.in_(study_ids)).limit(1)).one_or_none()
    return None if found is None else (found[0], found[1], found[2])


def rows(connection: Connection, ids: Sequence[int], columns: Iterable[str]) -> list[Row]:
    """The flat rows of these trials, in their order.

    Raises:
        QueryError: a column makes no sense.
    """
    names = {name: axis(name).label(name) for name in dict.fromkeys(("id", *map(canonical, columns)))}
    query = select(*names.values()).select_from(JOINED)
    found: dict[int, Row] = {}
    for start in range(0, len(ids), _BOUND):
        some = [int(number) for number in ids[start : start + _BOUND]]
        for row in connection.execute(query.where(trial.c.id.in_(some))).mappings():
            found[row["id"]] = dict(row)
    return [found[int(number)] for number in ids]


def axis(name: str) -> ColumnElement[Any]:
    """The SQL of a flat column or of the IoU of one class."""
    if found := _CLASS.fullmatch(name):
        return cast(trial.c.class_iou[int(found[1])].as_string(), Float)
    if canonical(name) not in FLAT:
        raise QueryError(law("A column", "a name of the flat row", {"column": name}, nearest(name, FLAT)))
    return FLAT[canonical(name)]


def _figure(name: str) -> ColumnElement[Any]:
    """The SQL of what can be compared."""
    if not _CLASS.fullmatch(name) and not (canonical(name) in FLAT and is_numeric(canonical(name))):
        near = nearest(name, [*(column for column in FLAT if is_numeric(column)), "iou.0"])
        raise QueryError(law("An objective", "a column of numbers, or iou.CLASS", {"objective": name}, near))
    return axis(name)


def _compared(connection: Connection, selection: Selection, objectives: Mapping[str, str]) -> Select[Any]:
    axes = [_figure(name) for name in objectives]
    wanted: list[ColumnElement[bool]] = [trial.c.outside.is_(False), *(a.is_not(None) for a in axes)]
    wanted += [_figure(name) <= limit for name, limit in selection.under.items()]
    if selection.where is not None:
        wanted.append(conditions(connection, selection.where))
    ours = [and_(trial.c.study_id == key, trial.c.epochs >= epochs) for key, epochs in selection.studies.items()]
    query = select(trial.c.id, *axes).select_from(_joined(axes, wanted))
    return query.where(or_(*ours), trial.c.state.in_(selection.states), *wanted)


def _joined(axes: Iterable[ColumnElement[Any]], wanted: Iterable[ColumnElement[Any]]) -> Any:
    """`trial` with the tables that are asked for, and no other: each would be a look-up a trial."""
    asked = {e.table for part in (*axes, *wanted) for e in visitors.iterate(part) if isinstance(e, Column)}
    source: Any = trial
    for table, key in ((cost, trial.c.cost_id), (architecture, trial.c.architecture_id), (study, trial.c.study_id)):
        if table in asked:
            source = source.join(table, key == table.c.id, isouter=table is cost and not _needs(table, axes))
    return source


def _needs(table: Table, axes: Iterable[ColumnElement[Any]]) -> bool:
    return any(isinstance(a, Column) and a.table is table for a in axes)


def _beaten(objectives: Mapping[str, str], beaters: npt.NDArray[np.float64]) -> ColumnElement[bool]:
    """No worse than some point nowhere, and worse somewhere: one term, which ends at the first point that beats."""
    axes = [(axis(name), direction) for name, direction in objectives.items()]
    found = []
    for point in beaters:
        pairs = [(a, direction, _literal(a, value)) for (a, direction), value in zip(axes, point, strict=True)]
        no_better = [a <= value if direction == "max" else a >= value for a, direction, value in pairs]
        worse = [a < value if direction == "max" else a > value for a, direction, value in pairs]
        found.append(and_(*no_better, or_(*worse)))
    return or_(*found)


def _literal(axis: ColumnElement[Any], value: float) -> ColumnElement[Any]:
    """A whole number where the column holds whole numbers, which compare faster."""
    whole = isinstance(axis.type, Integer) and float(value).is_integer()
    return literal(int(value), BigInteger) if whole else literal(float(value), Float)
