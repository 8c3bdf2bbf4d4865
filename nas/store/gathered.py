"""What a report asks of many trials at once: a query for some hundreds of them, not one for each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Select, select

from blocks.architecture import freeze
from nas.store.columns import FLAT, JOINED
from nas.store.schema import choice, epoch, trial

Row = dict[str, Any]

_SCATTER, _PARTS = 619, 1000  # numbers that follow each other land in parts far from each other, each part once
_PART = 500  # trials a query names; databases limit how many values a statement may bind


class Gathered:
    """Many trials at once, as they are at one moment.

    Args:
        connection: inside a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def sampled(self, study_id: int, *, share: float = 1.0, ids: Sequence[int] = ()) -> list[Row]:
        """Flat rows with `answers` and `class_iou` of a share of the trials and of those named, in order of number.

        Args:
            study_id: whose.
            share: of the trials, spread evenly over their numbers.
            ids: of trials that must be among them.
        """
        query = select(*(held.label(name) for name, held in FLAT.items()), trial.c.answers, trial.c.class_iou)
        query = query.select_from(JOINED).where(trial.c.study_id == study_id)
        spread = trial.c.number * _SCATTER % _PARTS < math.floor(share * _PARTS)
        some = self._connection.execute(query.where(spread)).mappings()
        found = {row["id"]: dict(row) for row in some}
        for row in self._in_parts(query, [one for one in ids if one not in found]):
            found[row["id"]] = row
        for row in found.values():
            row["answers"] = {question: freeze(value) for question, value in row["answers"].items()}
        return sorted(found.values(), key=lambda row: int(row["number"]))

    def curves(self, ids: Sequence[int]) -> dict[int, list[Row]]:
        """The epochs of these trials: id -> rows of `epoch`, `miou`, `loss`, `seconds`, in their order."""
        query = select(epoch.c.trial_id.label("id"), epoch.c.epoch, epoch.c.miou, epoch.c.loss, epoch.c.seconds)
        found: dict[int, list[Row]] = {}
        for row in self._in_parts(query.join(trial).order_by(trial.c.id, epoch.c.epoch), ids):
            found.setdefault(row.pop("id"), []).append(row)
        return found

    def chosen(self, ids: Sequence[int]) -> dict[int, dict[str, str | None]]:
        """The options of these trials: id -> path -> value as text."""
        query = select(trial.c.id, choice.c.path, choice.c.value).select_from(trial.join(choice))
        found: dict[int, dict[str, str | None]] = {one: {} for one in ids}
        for row in self._in_parts(query.order_by(choice.c.path), ids):
            found[row["id"]][row["path"]] = row["value"]
        return found

    def last_words(self, ids: Sequence[int]) -> dict[int, Row]:
        """What these trials left behind: id -> `traceback` and `log`."""
        query = select(trial.c.id, trial.c.traceback, trial.c.log)
        return {row["id"]: row for row in self._in_parts(query, ids)}

    def _in_parts(self, query: Select[Any], ids: Sequence[int]) -> Iterator[Row]:
        for first in range(0, len(ids), _PART):
            part = query.where(trial.c.id.in_(ids[first : first + _PART]))
            yield from (dict(row) for row in self._connection.execute(part).mappings())
