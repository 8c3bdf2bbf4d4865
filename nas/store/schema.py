"""The tables, and nothing else. Singular names: Optuna's own tables (`studies`, `trials`, ...) live in the same file.

Times are UTC. Names carry their unit where they have one. A change here raises `VERSION`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

VERSION: Final = 3

STATES: Final = (
    "proposed",
    "rejected",
    "running",
    "paused",
    "stopped",
    "finished",
    "failed",
    "interrupted",
    "replayed",
    "skipped",
)
UNFINISHED: Final = ("proposed", "running", "paused", "interrupted")
"""A sweep that resumes has these to deal with."""

CUT_SHORT: Final = ("proposed", "running", "interrupted")
"""These it trains on; what is paused waits for early stopping to promote it."""

FINAL: Final = ("finished", "replayed")
"""The full schedule was trained: these results count."""

TOLD: Final = (*FINAL, "stopped", "paused", "rejected", "failed", "skipped")
"""The sampler has learnt from these."""


class Moment(TypeDecorator[datetime]):
    """A time with its zone in Python; plain UTC in the database, which not every database can attach a zone to."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
_json = JSON(none_as_null=True)


def _parent(table: str) -> ForeignKey:
    return ForeignKey(f"{table}.id", ondelete="CASCADE")


schema = Table(
    "schema",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("written_by", String, nullable=False),
)

study = Table(
    "study",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("created", Moment, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("objectives", _json, nullable=False),  # {"miou": "max", "macs": "min"}
    Column("budget", _json, nullable=False),  # {"macs": 1e10}
    Column("settings", _json, nullable=False),
    Column("space", Text, nullable=False),  # the YAML as it was read
)

architecture = Table(
    "architecture",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("fingerprint", String, nullable=False, unique=True),
    Column("backbone", String, nullable=False),
    Column("model", String),  # the option of that name where the backbone has one (timm)
    Column("context", String, nullable=False),
    Column("align", String, nullable=False),
    Column("refine", String, nullable=False),
    Column("head", String, nullable=False),
    Column("canonical", Text, nullable=False),  # JSON, complete
)

_cost_facts = ("params", "macs", "macs_conv", "activation_bytes")
cost = Table(
    "cost",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("architecture_id", Integer, _parent("architecture"), nullable=False),
    Column("height", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("classes", Integer, nullable=False),
    Column("image_channels", Integer, nullable=False),
    # Networks that were imported may come without the last two.
    *(Column(name, BigInteger, nullable=name in ("macs_conv", "activation_bytes")) for name in _cost_facts),
    # The figures are part of the key: a later version of a component may cost something else, and what was
    # recorded for trials of the earlier one stays true.
    UniqueConstraint("architecture_id", "height", "width", "classes", "image_channels", *_cost_facts),
)

trial = Table(
    "trial",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", Integer, _parent("study"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("identity", String, nullable=False, index=True),
    Column("architecture_id", Integer, _parent("architecture"), nullable=False, index=True),
    Column("cost_id", Integer, _parent("cost"), index=True),
    Column("protocol_fingerprint", String, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("arm", String),  # of an ablation: what it is called there
    Column("origin", String, nullable=False),  # who chose it: sampler, grid, neighbour or random; or imported
    Column("repeats", Integer, nullable=False),  # known networks that the sampler proposed just before it
    Column("miou", Float),  # at the last epoch
    Column("miou_best", Float),
    Column("pixel_accuracy", Float),
    Column("epochs", Integer, nullable=False, default=0),  # recorded
    Column("epochs_planned", Integer, nullable=False),
    Column("retries", Integer, nullable=False, default=0),  # workers that it lost
    Column("accumulation", Integer, nullable=False, default=1),  # parts that a batch was taken in, for want of memory
    Column("outside", Boolean, nullable=False, default=False),  # not in its study's space any more, which was edited
    Column("rung", Integer),  # epochs at which early stopping ended or paused it
    Column("missing", Float),  # share of the rungs not reached
    Column("exceeded", String),  # the limit that it was rejected for
    Column("exceeded_value", Float),
    Column("exceeded_limit", Float),
    Column("latency_ms", Float),
    Column("peak_memory_bytes", BigInteger),
    Column("train_seconds", Float),
    Column("train_memory_bytes", BigInteger),
    Column("created", Moment, nullable=False),
    Column("started", Moment),
    Column("ended", Moment),
    Column("host", String),
    Column("device", String),
    Column("replay_of", Integer, ForeignKey("trial.id", ondelete="SET NULL"), index=True),
    Column("parent", Integer, ForeignKey("trial.id", ondelete="SET NULL")),  # whose weights it began with
    Column("error", Text),  # why it failed or was skipped
    # What is long comes last: a query over the columns above then never has to read past it.
    Column("class_iou", _json),
    Column("answers", _json, nullable=False),  # question -> value: what the sampler was asked
    Column("protocol", Text, nullable=False),  # JSON, complete
    Column("traceback", Text),
    Column("log", Text, nullable=False, default=""),
    CheckConstraint("state IN (" + ", ".join(f"'{s}'" for s in STATES) + ")", name="known_state"),
    UniqueConstraint("study_id", "number"),
    # All that a front asks of a trial, in the order in which costs were inserted: it never reads the wide rows.
    Index(None, "study_id", "state", "epochs", "cost_id", "architecture_id", "miou", "outside"),
)

choice = Table(
    "choice",
    metadata,
    Column("trial_id", Integer, _parent("trial"), primary_key=True),
    Column("path", String, primary_key=True),  # context, context.ppm.bins, training.learning_rate
    Column("value", Text),  # as JSON, but text without its quotes
    Column("number", Float),  # the value again where it is a number
    Index(None, "path", "value"),
    sqlite_with_rowid=False,
)

epoch = Table(
    "epoch",
    metadata,
    Column("trial_id", Integer, _parent("trial"), primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),  # counted from 1
    Column("loss", Float),
    Column("miou", Float),
    Column("pixel_accuracy", Float),
    Column("learning_rate", Float),
    Column("seconds", Float),
    Column("train_memory_bytes", BigInteger),
    Column("class_iou", _json),
    sqlite_with_rowid=False,
)

evaluation = Table(
    "evaluation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("trial_id", Integer, _parent("trial"), nullable=False, index=True),
    Column("created", Moment, nullable=False),
    Column("split", String, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("settings", _json, nullable=False),  # {"sliding": false, "flip": true, "scales": [1.0], ...}
    Column("miou", Float),
    Column("pixel_accuracy", Float),
    Column("class_iou", _json),
    Column("seconds", Float),
)

provenance = Table(
    "provenance",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", Integer, _parent("study"), nullable=False, index=True),
    Column("created", Moment, nullable=False),
    Column("revision", String),  # of git
    Column("dirty", Boolean),
    Column("data_fingerprint", String),
    Column("command", Text),
    Column("facts", _json, nullable=False),  # versions, hardware, and whatever else was known
)
