"""The flat row: what a listing, a condition or an axis can name, and where it is stored."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, select

from nas.store.schema import architecture, cost, study, trial

_TRIAL_FIRST = ("number", "state", "miou", "miou_best", "pixel_accuracy")
_TRIAL_LAST = (
    "arm",
    "seed",
    "epochs",
    "epochs_planned",
    "retries",
    "accumulation",
    "outside",
    "rung",
    "missing",
    "exceeded",
    "exceeded_value",
    "exceeded_limit",
    "latency_ms",
    "peak_memory_bytes",
    "train_seconds",
    "train_memory_bytes",
    "created",
    "started",
    "ended",
    "host",
    "device",
    "error",
    "identity",
    "protocol_fingerprint",
    "replay_of",
    "parent",
    "origin",
    "repeats",
)

# The number, which people know; the table holds the id.
_parent = trial.alias("parent_trial")
_PARENT = select(_parent.c.number).where(_parent.c.id == trial.c.parent).correlate(trial).scalar_subquery()

FLAT: Final[dict[str, ColumnElement[Any]]] = {
    "study": study.c.name,
    **{name: trial.c[name] for name in _TRIAL_FIRST},
    **{name: cost.c[name] for name in ("params", "macs", "macs_conv", "activation_bytes")},
    **{name: architecture.c[name] for name in ("backbone", "model", "context", "align", "refine", "head")},
    **{name: trial.c[name] for name in _TRIAL_LAST},
    "parent": _PARENT,
    "fingerprint": architecture.c.fingerprint,
    "id": trial.c.id,
}

ALIASES: Final = {"flops": "macs"}
"""Other words that people use."""

JOINED: Final = (
    trial.join(study)
    .join(architecture, trial.c.architecture_id == architecture.c.id)
    .outerjoin(cost, trial.c.cost_id == cost.c.id)
)


def canonical(name: str) -> str:
    """The name that the rows use."""
    return ALIASES.get(name, name)


def is_numeric(name: str) -> bool:
    """Tell whether a column holds numbers, so that it can be an axis."""
    return FLAT[name].type.python_type in (int, float)
