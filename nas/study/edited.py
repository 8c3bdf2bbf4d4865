"""Resume after the space was edited: what is still in it counts, the rest stays in the store and is reported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blocks.architecture import freeze
from blocks.errors import SpaceError
from blocks.options import Value
from nas.propose.candidates import key_of
from nas.space import Candidate, Forbidden, Question, Space
from nas.store import Store
from runners.data import DataInfo
from runners.identity import descended


@dataclass(frozen=True, slots=True)
class Edit:
    """What an edit of a space has left of a study.

    Args:
        inside: trials that are still in the space, number -> answers to the questions of the space as it is now.
        outside: numbers of those that are not.
    """

    inside: Mapping[int, Mapping[str, Value]]
    outside: tuple[int, ...]

    def __str__(self) -> str:
        whole = len(self.inside) + len(self.outside)
        return f"the space was edited: {len(self.inside)} of {whole} recorded trials are in it, the others do not count"


def adopt(space: Space, study_id: int, store: Store, data: DataInfo, fingerprint: str) -> Edit:
    """Sort a study's trials by whether they are in its edited space, and record that.

    Raises:
        SpaceError: none of them is.
    """
    inside: dict[int, Mapping[str, Value]] = {}
    outside = []
    rows = store.everything(study_id)
    keys = {row["number"]: row["identity"] for row in rows}
    for row in rows:
        candidate, parent = _candidate(space, row, store.choices(row["id"])), keys.get(row["parent"])
        # What has inherited weights counts as long as the networks of the space do.
        counts = parent is None or space.search.inherit
        if candidate is None or descended(key_of(space, candidate, data, fingerprint), parent) != row["identity"]:
            counts = False
        if candidate is None or not counts or not within(space.budget, row):
            outside.append(row["number"])
        else:
            inside[row["number"]] = candidate.answers
    if outside and not inside:
        raise SpaceError(
            f"A resumed study needs a space that has something in common with what was recorded: none of its "
            f"{len(outside)} trials is in this one. Begin a new study with --study NAME."
        )
    store.edit_study(study_id, space=space.text, budget=space.budget, inside=inside, outside=outside)
    return Edit(inside, tuple(outside))


def _candidate(space: Space, row: Mapping[str, Any], choices: Mapping[str, str | None]) -> Candidate | None:
    """What the answers of a recorded network give in this space, or None where none of it has them."""
    recorded: Mapping[str, Value] = row["answers"]

    def ask(question: Question) -> Value:
        if question.path in recorded:
            value = recorded[question.path]
        else:
            # What was fixed is asked now.
            value = _read(choices.get(question.path.removeprefix("architecture.")))
        if value not in question.domain:
            raise _ElsewhereError
        return question.domain.settled(value)

    try:
        return space.choose(ask)
    except (_ElsewhereError, Forbidden):
        return None


class _ElsewhereError(Exception):
    """A recorded network answers a question as the space does not allow any more."""


def _read(text: str | None) -> Value:
    try:
        value: Value = freeze(json.loads(text)) if text is not None else None
    except ValueError:
        return text
    return value


def within(budget: Mapping[str, float], row: Mapping[str, Any]) -> bool:
    """Tell whether the limits of today agree with what was done to a trial."""
    if row["state"] == "rejected":
        # Where the limit was raised it may be tried after all.
        limit = budget.get(row["exceeded"])
        return limit is not None and row["exceeded_value"] > limit
    return not any(row[name] is not None and row[name] > limit for name, limit in budget.items())
