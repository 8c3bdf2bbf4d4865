"""What is written to the store. Each function takes a connection inside a transaction."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Table, case, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from blocks.architecture import Architecture
from blocks.errors import StoreError, law
from nas.store.schema import FINAL, UNFINISHED, architecture, cost, epoch, study, trial
from runners.protocol import Epoch, Failed, Finished, Interrupted, Outcome, Paused, Protocol, Rejected, Stopped

_STATE: Final[dict[type[Outcome], str]] = {
    Finished: "finished",
    Stopped: "stopped",
    Paused: "paused",
    Failed: "failed",
    Rejected: "rejected",
    Interrupted: "interrupted",
}
_MEASURED: Final = ("latency_ms", "peak_memory_bytes")
_RESULT: Final = (
    "miou",
    "miou_best",
    "pixel_accuracy",
    "class_iou",
    "epochs",
    "accumulation",
    *_MEASURED,
    "host",
    "device",
)


def now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def add(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    """Insert a row and return its id."""
    # As parameters, not as `.values()`: the statement is the same for every row, and put together once.
    key = connection.execute(insert(table), dict(values)).inserted_primary_key
    assert key is not None  # every table here has one
    return int(key[0])


def architecture_id(connection: Connection, value: Architecture) -> int:
    """Find or insert an architecture."""
    slots = {slot: component.name for slot, component in value.slots()}
    model = dict(value.backbone.options).get("model")
    facts = {"canonical": value.canonical(), "model": model if isinstance(model, str) else None, **slots}
    return _found_or_added(connection, architecture, {"fingerprint": value.fingerprint}, facts)


def cost_id(connection: Connection, owner: int, protocol: Protocol, figures: Mapping[str, int]) -> int:
    """Find or insert the cost of an architecture at the protocol's input size and class count."""
    height, width = protocol.size
    key = {
        "architecture_id": owner,
        "height": height,
        "width": width,
        "classes": protocol.classes,
        "image_channels": protocol.image_channels,
        **{name: figures.get(name) for name in ("params", "macs", "macs_conv", "activation_bytes")},
    }
    return _found_or_added(connection, cost, key, {})


def change(connection: Connection, trial_id: int, values: Mapping[str, Any], *, log: str = "") -> None:
    """Update a trial that has not ended.

    Raises:
        StoreError: it has ended, or there is none.
    """
    full = dict(values) | ({"log": trial.c.log + log} if log else {})
    still = update(trial).where(trial.c.id == trial_id, trial.c.state.in_(UNFINISHED))
    if connection.execute(still.values(full)).rowcount != 1:
        state = connection.scalar(select(trial.c.state).where(trial.c.id == trial_id))
        remedy = "A trial ends once: look for who reported it twice"
        raise StoreError(law("A change", "a trial that has not ended", {"trial": trial_id, "state": state}, remedy))


def record_start(connection: Connection, trial_id: int, host: str, device: str) -> None:
    """Record that a worker has begun: the time when it is told first, the place when that is known."""
    moment = case((trial.c.state == "running", trial.c.started), else_=now())
    change(connection, trial_id, {"state": "running", "started": moment, "host": host, "device": device})


def record_epoch(connection: Connection, trial_id: int, value: Epoch) -> None:
    """Insert an epoch in place of the same one and all later ones, and bring the trial's own figures up to it."""
    # An epoch that comes again is a trial that continues from an older checkpoint: what followed is another life.
    connection.execute(delete(epoch).where(epoch.c.trial_id == trial_id, epoch.c.epoch >= value.epoch))
    figures = {
        "miou": _finite(value.miou),
        "pixel_accuracy": _finite(value.pixel_accuracy),
        "class_iou": [None if iou is None else _finite(iou) for iou in value.class_iou],
    }
    own = {
        "loss": _finite(value.loss),
        "learning_rate": _finite(value.learning_rate),
        "seconds": value.seconds,
        "train_memory_bytes": value.train_memory_bytes,
    }
    connection.execute(insert(epoch), {"trial_id": trial_id, "epoch": value.epoch, **figures, **own})
    whole = select(func.max(epoch.c.miou), func.max(epoch.c.train_memory_bytes), func.sum(epoch.c.seconds))
    best, peak, seconds = connection.execute(whole.where(epoch.c.trial_id == trial_id)).one()
    totals = {"epochs": value.epoch, "miou_best": best, "train_memory_bytes": peak, "train_seconds": seconds}
    totals["accumulation"] = value.accumulation
    measured = {name: figure for name in _MEASURED if (figure := getattr(value, name)) is not None}
    place = {name: said for name in ("host", "device") if (said := getattr(value, name))}
    change(connection, trial_id, figures | totals | measured | place, log=value.log)


def edit_study(connection: Connection, study_id: int, values: Mapping[str, Any]) -> None:
    """Change what a study is."""
    connection.execute(update(study).where(study.c.id == study_id).values(dict(values)))


def sort_trials(
    connection: Connection, study_id: int, inside: Mapping[int, Mapping[str, Any]], outside: Collection[int]
) -> None:
    """Note which trials are in their study's space; what is not, and was not finished, will not be trained."""
    for number, answers in inside.items():
        mine = update(trial).where(trial.c.study_id == study_id, trial.c.number == number)
        connection.execute(mine.values(outside=False, answers=dict(answers)))
    for number in outside:
        mine = update(trial).where(trial.c.study_id == study_id, trial.c.number == number)
        connection.execute(mine.values(outside=True))
        skipped = {"state": "skipped", "error": "not in the space any more, which was edited", "ended": now()}
        connection.execute(mine.where(trial.c.state.in_(UNFINISHED)).values(skipped))


def record_retry(connection: Connection, trial_id: int, reason: str) -> None:
    """Count that a trial goes on with another worker, and note why in its log."""
    moment = f"{now():%H:%M:%S}"
    change(
        connection, trial_id, {"retries": trial.c.retries + 1}, log=f"{moment} goes on with another worker: {reason}\n"
    )


def record_end(connection: Connection, trial_id: int, outcome: Outcome) -> None:
    """Record how a trial ended, or that it waits."""
    ended = None if isinstance(outcome, Paused) else now()
    values: dict[str, Any] = {"state": _STATE[type(outcome)], "ended": ended}
    log = ""
    match outcome:
        case Stopped() | Paused():
            values |= {"rung": outcome.rung, "missing": outcome.missing}
        case Failed():
            values |= {"error": outcome.reason, "traceback": outcome.traceback}
            log = outcome.log
        case Rejected():
            limit = {"exceeded": outcome.limit, "exceeded_value": outcome.value, "exceeded_limit": outcome.allowed}
            values |= limit
    change(connection, trial_id, values, log=log)


def record_replay(connection: Connection, trial_id: int, of: int) -> None:
    """Copy the result of another trial.

    Raises:
        StoreError: the other has no final result.
    """
    wanted = [trial.c[name] for name in (*_RESULT, "replay_of")]
    found = connection.execute(select(*wanted).where(trial.c.id == of, trial.c.state.in_(FINAL))).mappings().first()
    if found is None:
        raise StoreError(law("A replay", "a trial with a final result", {"trial": of}, "Train it instead"))
    # Named after the trial that was really trained; nothing was trained here.
    own = {"state": "replayed", "replay_of": found["replay_of"] or of, "train_seconds": 0.0, "ended": now()}
    change(connection, trial_id, dict(found) | own)


def _found_or_added(connection: Connection, table: Table, key: Mapping[str, Any], rest: Mapping[str, Any]) -> int:
    query = select(table.c.id).where(*(table.c[name] == value for name, value in key.items()))
    found = connection.scalar(query)
    if found is not None:
        return int(found)
    try:
        # Where a database lets two drivers write at once, the other may add the same row in between.
        with connection.begin_nested():
            return add(connection, table, {**key, **rest})
    except IntegrityError:
        return int(connection.scalars(query).one())


def _finite(value: float) -> float | None:
    """NaN and infinity have no spelling in JSON, and databases disagree about them in columns."""
    return value if math.isfinite(value) else None
