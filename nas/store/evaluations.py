"""Figures that were taken of trained networks later, apart from those of the search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from nas.store.schema import evaluation
from nas.store.writes import now

Row = dict[str, Any]

_FIGURES: Final = ("split", "samples", "settings", "miou", "pixel_accuracy", "class_iou", "seconds")


def record(connection: Connection, trial_id: int, facts: Mapping[str, Any]) -> None:
    """Insert what an evaluation gave: its columns by name."""
    row = {"trial_id": trial_id, "created": now(), **{name: facts[name] for name in _FIGURES}}
    connection.execute(insert(evaluation).values(row))


def evaluations(connection: Connection, trial_id: int) -> list[Row]:
    """What was found of a trial later, oldest first."""
    columns = [evaluation.c.created, *(evaluation.c[name] for name in _FIGURES)]
    query = select(*columns).where(evaluation.c.trial_id == trial_id).order_by(evaluation.c.id)
    return [dict(row) for row in connection.execute(query).mappings()]
