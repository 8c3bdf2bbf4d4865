"""The rungs of early stopping as they were climbed: who reached which one with which mIoU, and who went on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blocks.errors import NasError
from runners.halving import bracket_of, rungs


@dataclass(frozen=True, slots=True)
class Reached:
    """A trial at a rung.

    Args:
        number: of the trial.
        miou: there; None where it was no number.
        went_on: whether it trained on, then or later.
    """

    number: int
    miou: float | None
    went_on: bool


@dataclass(frozen=True, slots=True)
class Step:
    """A rung.

    Args:
        epochs: at which trials were compared. [count]
        trials: those that reached it and whose curve is known.
    """

    epochs: int
    trials: tuple[Reached, ...]


def ladder(
    study: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], curves: Mapping[int, Sequence[Mapping[str, Any]]]
) -> list[Step]:
    """List the rungs of a study, lowest first; none where nothing could be stopped early.

    Args:
        study: its row, with the YAML of its space.
        rows: its trials.
        curves: trial id -> epochs.
    """
    compared_at = _rungs_of(study, rows)
    found: dict[int, list[Reached]] = {}
    for row in rows:
        curve = {point["epoch"]: point["miou"] for point in curves.get(row["id"], ())}
        for rung in compared_at(row):
            if rung in curve:
                # Every rung is below the end of the schedule: who has another epoch went on, whatever came of it.
                found.setdefault(rung, []).append(Reached(row["number"], curve[rung], row["epochs"] > rung))
    return [Step(rung, tuple(found[rung])) for rung in sorted(found)]


def _rungs_of(
    study: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> Callable[[Mapping[str, Any]], Sequence[int]]:
    """At which epochs a trial was compared: as its space says, or else wherever some trial was stopped."""
    # Imported or written by an older version: what happened still shows where the rungs were.
    observed = sorted({row["rung"] for row in rows if row["rung"] is not None})
    if "early_stopping" not in study["space"]:
        return lambda row: observed
    # It brings torch.
    from nas.space import Space

    try:
        options = Space.loads(study["space"]).search.early_stopping
    except NasError:
        return lambda row: observed
    if options is None:
        return lambda row: observed
    seed = int(study["seed"])
    return lambda row: rungs(options, row["epochs_planned"], bracket_of(options, row["number"], seed))
