"""A whole study as flat rows: the columns of each trial, and what was chosen for it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from nas.store.columns import FLAT
from nas.store.queries import trials
from nas.store.schema import choice, trial

Row = dict[str, Any]


def with_choices(connection: Connection, study_id: int) -> list[Row]:
    """Flat rows in the order of their numbers, each with its options by path; numbers come as numbers.

    All rows have the same keys. An option whose path is a column too (`context`) says the same there, and is left out.
    """
    rows = {row["id"]: row for row in trials(connection, study_id)}
    mine = trial.c.study_id == study_id
    paths = sorted(
        path
        for path in connection.scalars(select(choice.c.path).join(trial).where(mine).distinct())
        if path not in FLAT
    )
    for row in rows.values():
        row.update(dict.fromkeys(paths))
    query = select(choice.c.trial_id, choice.c.path, choice.c.value, choice.c.number).join(trial)
    for trial_id, path, text, number in connection.execute(query.where(mine, choice.c.path.in_(paths))):
        rows[trial_id][path] = text if number is None else _shortest(number)
    return list(rows.values())


def _shortest(number: float) -> float | int:
    return int(number) if number.is_integer() and abs(number) < 1 << 53 else number
