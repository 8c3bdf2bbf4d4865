"""One trial by its name, and the other way round."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from blocks.errors import QueryError, law
from nas.store.queries import trial_numbered
from nas.store.schema import study, trial

Row = dict[str, Any]


def trial_of(connection: Connection, study_id: int, number: int) -> Row:
    """Everything about one trial.

    Raises:
        QueryError: there is none of that number; the message says how many there are.
    """
    row = trial_numbered(connection, study_id, number)
    if row is None:
        counted = select(func.count(), func.max(trial.c.number)).where(trial.c.study_id == study_id)
        count, last = connection.execute(counted).one()
        name = connection.scalar(select(study.c.name).where(study.c.id == study_id))
        remedy = f"It has {count}, up to {last}" if count else "It has none yet"
        raise QueryError(law(f"The study {name}", "a trial of that number", {"trial": number}, remedy))
    return row


def trained_as(connection: Connection, trial_id: int) -> tuple[str, int] | None:
    """The study and the number under which a trial was trained, or None where it is gone."""
    query = select(study.c.name, trial.c.number).join(study, trial.c.study_id == study.c.id)
    row = connection.execute(query.where(trial.c.id == trial_id)).one_or_none()
    return None if row is None else (row.name, row.number)
