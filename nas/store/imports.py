"""Write what others recorded: a whole study at once, or nothing of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert

from blocks.architecture import Architecture
from blocks.options import Value
from nas.store import schema, writes
from nas.store.choices import choice_rows
from runners.protocol import Epoch, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedTrial:
    """A network that somebody else's code has trained to its end.

    Args:
        identity: of the record; no network of ours has the same.
        architecture: what is known of the network.
        protocol: what is known of its training.
        seed: of the training.
        cost: params and macs, and macs_conv and activation_bytes where they are known.
        answers: question -> value.
        choices: path -> value.
        epochs: the whole curve.
    """

    identity: str
    architecture: Architecture
    protocol: Protocol
    seed: int
    cost: Mapping[str, int]
    answers: Mapping[str, Value]
    choices: Mapping[str, Value]
    epochs: Sequence[Epoch]


def import_trials(connection: Connection, study_id: int, trials: Sequence[ImportedTrial]) -> None:
    """Insert finished trials with all that belongs to them, numbered from 0."""
    for number, trial in enumerate(trials):
        owner = writes.architecture_id(connection, trial.architecture)
        values = {
            "study_id": study_id,
            "number": number,
            "state": "finished",
            "identity": trial.identity,
            "architecture_id": owner,
            "cost_id": writes.cost_id(connection, owner, trial.protocol, trial.cost),
            "protocol": trial.protocol.canonical(),
            "protocol_fingerprint": trial.protocol.fingerprint,
            "seed": trial.seed,
            "origin": "imported",
            "repeats": 0,
            "answers": dict(trial.answers),
            "epochs_planned": len(trial.epochs),
            "created": writes.now(),
            "ended": writes.now(),
            **_figures(trial.epochs),
        }
        trial_id = writes.add(connection, schema.trial, values)
        connection.execute(insert(schema.choice), choice_rows(trial_id, trial.choices))
        connection.execute(insert(schema.epoch), [_row(trial_id, epoch) for epoch in trial.epochs])


def _figures(epochs: Sequence[Epoch]) -> dict[str, float | int | None]:
    return {
        "miou": epochs[-1].miou,
        "miou_best": max(epoch.miou for epoch in epochs),
        "pixel_accuracy": _known(epochs[-1].pixel_accuracy),
        "epochs": len(epochs),
        "train_seconds": sum(epoch.seconds for epoch in epochs),
    }


def _row(trial_id: int, epoch: Epoch) -> dict[str, object]:
    return {
        "trial_id": trial_id,
        "epoch": epoch.epoch,
        "loss": _known(epoch.loss),
        "miou": epoch.miou,
        "pixel_accuracy": _known(epoch.pixel_accuracy),
        "seconds": epoch.seconds,
    }


def _known(value: float) -> float | None:
    """What a table does not say is not a number."""
    return None if math.isnan(value) else value
