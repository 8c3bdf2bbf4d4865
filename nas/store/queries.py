"""What is asked of the store. Each function takes a connection and returns plain rows."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select

from blocks.architecture import freeze
from blocks.errors import QueryError, law, nearest
from nas.store.columns import FLAT, JOINED, canonical
from nas.store.schema import FINAL, STATES, TOLD, architecture, choice, epoch, provenance, study, trial
from nas.store.where import Options, translate

Row = dict[str, Any]


def study_named(connection: Connection, name: str) -> Row | None:
    """One study, or None."""
    row = connection.execute(select(study).where(study.c.name == name)).mappings().one_or_none()
    return dict(row) if row else None


def study_names(connection: Connection) -> list[str]:
    """The name of every study, oldest first."""
    return list(connection.scalars(select(study.c.name).order_by(study.c.id)))


def studies(connection: Connection) -> list[Row]:
    """One flat row per study: name, trials in all and by state, best mIoU, seed, objectives, created."""
    counted = select(trial.c.study_id, trial.c.state, func.count(), func.max(trial.c.miou))
    states: dict[int, dict[str, int]] = {}
    best: dict[int, float] = {}
    for study_id, state, count, miou in connection.execute(counted.group_by(trial.c.study_id, trial.c.state)):
        states.setdefault(study_id, {})[state] = count
        if state in FINAL and miou is not None:
            best[study_id] = max(miou, best.get(study_id, miou))
    columns = (study.c.id, study.c.name, study.c.seed, study.c.objectives, study.c.created)
    return [
        {
            "name": row.name,
            "trials": sum(states.get(row.id, {}).values()),
            **{state: states.get(row.id, {}).get(state, 0) for state in STATES},
            "miou": best.get(row.id),
            "objectives": ", ".join(f"{name} {direction}" for name, direction in row.objectives.items()),
            "seed": row.seed,
            "created": row.created,
        }
        for row in connection.execute(select(*columns).order_by(study.c.id))
    ]


def trials(
    connection: Connection,
    study_id: int,
    *,
    where: str | None = None,
    states: Collection[str] | None = None,
    columns: Iterable[str] | None = None,
) -> list[Row]:
    """Flat rows of a study in the order of their numbers.

    Raises:
        QueryError: the condition, a state or a column makes no sense.
    """
    query = _flat(columns or FLAT).where(trial.c.study_id == study_id).order_by(trial.c.number)
    if states is not None:
        for state in states:
            if state not in STATES:
                raise QueryError(law("--state", "a state of trials", {"state": state}, nearest(state, STATES)))
        query = query.where(trial.c.state.in_(states))
    if where is not None:
        query = query.where(conditions(connection, where))
    return [dict(row) for row in connection.execute(query).mappings()]


def told(connection: Connection, study_id: int) -> list[Row]:
    """What the sampler has learnt from, in the order of their numbers: flat rows with `answers`."""
    return [row for row in everything(connection, study_id) if row["state"] in TOLD and not row["outside"]]


def everything(connection: Connection, study_id: int) -> list[Row]:
    """All trials in the order of their numbers: flat rows with `answers`."""
    query = _flat(FLAT).add_columns(trial.c.answers).order_by(trial.c.number)
    rows = connection.execute(query.where(trial.c.study_id == study_id)).mappings()
    return [_thawed(dict(row)) for row in rows]


def open_trials(connection: Connection, study_id: int, states: Collection[str]) -> list[Row]:
    """Trials in these states with all that is needed to go on: `answers`, `architecture` and `protocol` (JSON)."""
    query = _flat(FLAT).add_columns(
        trial.c.answers, trial.c.protocol, architecture.c.canonical.label("architecture"), trial.c.class_iou
    )
    query = query.where(trial.c.study_id == study_id, trial.c.state.in_(states)).order_by(trial.c.number)
    return [_thawed(dict(row)) for row in connection.execute(query).mappings()]


def trial_numbered(connection: Connection, study_id: int, number: int) -> Row | None:
    """Everything about one trial, log and traceback included, or None."""
    row = connection.execute(_numbered(), {"study": study_id, "number": number}).mappings().one_or_none()
    return _thawed(dict(row)) if row else None


@functools.cache
def _numbered() -> Select[Any]:
    # Made once: to put some sixty columns together takes longer than to look the row up.
    query = _flat(FLAT).add_columns(
        trial.c.class_iou,
        trial.c.answers,
        trial.c.protocol,
        architecture.c.canonical.label("architecture"),
        trial.c.traceback,
        trial.c.log,
    )
    return query.where(trial.c.study_id == bindparam("study"), trial.c.number == bindparam("number"))


def final_of(connection: Connection, identity: str, *, degraded: bool) -> Row | None:
    """The first trial anywhere in the store that reached a final result for this identity, at its full batch if any."""
    row = connection.execute(_final(degraded), {"identity": identity}).mappings().first()
    return dict(row) if row else None


@functools.cache
def _final(degraded: bool) -> Select[Any]:
    query = _flat(FLAT).add_columns(trial.c.class_iou)
    query = query.where(trial.c.identity == bindparam("identity"), trial.c.state.in_(FINAL))
    if not degraded:
        query = query.where(trial.c.accumulation == 1)
    return query.order_by(trial.c.accumulation > 1, trial.c.id).limit(1)


def epochs(connection: Connection, trial_id: int) -> list[Row]:
    """The curve of a trial."""
    kept = [c for c in epoch.c if c.name != "trial_id"]
    query = select(*kept).where(epoch.c.trial_id == trial_id).order_by(epoch.c.epoch)
    return [dict(row) for row in connection.execute(query).mappings()]


def choices(connection: Connection, trial_id: int) -> dict[str, str | None]:
    """The options chosen, path -> value as text."""
    query = select(choice.c.path, choice.c.value).where(choice.c.trial_id == trial_id).order_by(choice.c.path)
    return {row.path: row.value for row in connection.execute(query)}


def provenances(connection: Connection, study_id: int) -> list[Row]:
    """Where and with what a study was run: a row each time it was started or resumed."""
    query = select(provenance).where(provenance.c.study_id == study_id).order_by(provenance.c.id)
    return [dict(row) for row in connection.execute(query).mappings()]


def next_number(connection: Connection, study_id: int) -> int:
    """The number that the next trial of a study gets; they count from 0."""
    last = connection.scalar(select(func.max(trial.c.number)).where(trial.c.study_id == study_id))
    return 0 if last is None else last + 1


def _flat(columns: Iterable[str]) -> Select[Any]:
    names = [canonical(name) for name in columns]
    for name in names:
        if name not in FLAT:
            raise QueryError(law("A column", "a name of the flat row", {"column": name}, nearest(name, FLAT)))
    return select(*(FLAT[name].label(name) for name in dict.fromkeys(names))).select_from(JOINED)


def _thawed(row: Row) -> Row:
    """Give values back as they were before they were stored: tuples, not JSON's lists."""
    row["answers"] = {question: freeze(value) for question, value in row["answers"].items()}
    return row


def conditions(connection: Connection, where: str) -> ColumnElement[bool]:
    """Turn a condition into SQL over `JOINED`.

    Raises:
        QueryError: it makes no sense.
    """
    return translate(where, _options(connection))


def _options(connection: Connection) -> Options:
    def exists(path: str) -> bool:
        return connection.execute(select(choice.c.path).where(choice.c.path == path).limit(1)).first() is not None

    return Options(exists, lambda: connection.scalars(select(choice.c.path).distinct()).all())
