"""What was chosen in a whole study, in one query."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select

from nas.store.schema import choice, trial

Choices = dict[int, dict[str, str | None]]


def chosen(connection: Connection, study_id: int, states: Collection[str]) -> Choices:
    """The options of every trial in these states: its id -> path -> value as text."""
    query = select(choice.c.trial_id, choice.c.path, choice.c.value).join(trial)
    query = query.where(trial.c.study_id == study_id, trial.c.state.in_(states))
    found: Choices = {}
    for trial_id, path, value in connection.execute(query):
        found.setdefault(trial_id, {})[path] = value
    return found
