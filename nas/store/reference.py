"""The tables as Markdown, from the schema itself: `python -m nas.store.reference docs/sql.md` writes them there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Column, Table, UniqueConstraint

from nas.store.schema import STATES, VERSION, metadata

MARKS: Final = ("<!-- tables -->", "<!-- end of tables -->")

_ABOUT: Final = {
    "schema": "One row: the version of these tables.",
    "study": "One row per study.",
    "architecture": "One row per network, whoever trained it.",
    "cost": "What an architecture costs at an input size and a number of classes.",
    "trial": "One row per network and training that a study proposed.",
    "choice": "What was chosen for a trial: one row per option.",
    "epoch": "The curves: one row per trial and epoch.",
    "evaluation": "What `nas evaluate` found later, apart from the search's own figures.",
    "provenance": "Where and with what a study was run: one row each time it was started or resumed.",
}
_MEANINGS: Final = {
    "study.objectives": '`{"miou": "max", "macs": "min"}`',
    "study.budget": '`{"macs": 1e10}`',
    "study.space": "the YAML as it was read",
    "architecture.fingerprint": "hash of `canonical`",
    "architecture.model": "of the backbone, where it has one (timm)",
    "architecture.canonical": "every component and option, as JSON",
    "cost.macs": "multiply-accumulates of everything",
    "cost.macs_conv": "of convolutions and linear layers alone",
    "trial.number": "in its study, from 0; what commands take as TRIAL",
    "trial.state": ", ".join(STATES),
    "trial.identity": "the key of its result, across studies",
    "trial.protocol_fingerprint": "of everything besides network and seed that changes a result",
    "trial.arm": "of an ablation",
    "trial.origin": "who chose it: sampler, grid, neighbour, random; or imported",
    "trial.repeats": "known networks that the sampler proposed just before it",
    "trial.miou": "at the last epoch",
    "trial.epochs": "recorded",
    "trial.retries": "workers that it lost",
    "trial.accumulation": "parts that a batch was taken in, for want of memory",
    "trial.outside": "not in its study's space any more, which was edited",
    "trial.rung": "epochs at which early stopping ended or paused it",
    "trial.missing": "share of the rungs that it did not reach",
    "trial.exceeded": "the limit that it was rejected for",
    "trial.replay_of": "the trial whose result it took over",
    "trial.parent": "the trial whose weights it began with",
    "trial.error": "why it failed or was skipped",
    "trial.class_iou": "one figure per class",
    "trial.answers": "question -> value: what the sampler was asked",
    "trial.protocol": "complete, as JSON",
    "choice.path": "`context`, `context.ppm.bins`, `training.learning_rate`",
    "choice.value": "as JSON, but text without its quotes",
    "choice.number": "the value again where it is a number",
    "epoch.epoch": "from 1",
    "provenance.revision": "of git",
    "provenance.facts": "versions, hardware and whatever else was known",
}


def tables() -> str:
    """Every table: its columns, their types, keys and what they mean."""
    head = f"Version {VERSION}. Times are UTC. A final result is `state IN ('finished', 'replayed') AND NOT outside`."
    return "\n\n".join([head, *(_table(table) for table in metadata.sorted_tables)])


def updated(page: str) -> str:
    """A page with the tables between its marks as they are now."""
    first, last = MARKS
    return re.sub(f"{first}.*{last}", lambda _: f"{first}\n{tables()}\n{last}", page, flags=re.DOTALL)


def _table(table: Table) -> str:
    lines = [
        f"### {table.name}",
        "",
        _ABOUT[table.name],
        "",
        "| column | type | key | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for column in table.columns:
        optional = "" if column.nullable else " NOT NULL"
        meaning = _MEANINGS.get(f"{table.name}.{column.name}", "")
        lines.append(f"| `{column.name}` | {_type(column)}{optional} | {_keys(column)} | {meaning} |")
    unique = [
        ", ".join(column.name for column in rule.columns)
        for rule in sorted(table.constraints, key=lambda rule: str(rule.name))
        if isinstance(rule, UniqueConstraint) and len(rule.columns) > 1
    ]
    return "\n".join([*lines, *(["", *(f"Unique: {names}." for names in unique)] if unique else [])])


def _type(column: Column[Any]) -> str:
    return str(getattr(column.type, "impl", column.type)).upper()


def _keys(column: Column[Any]) -> str:
    keys = ["primary"] if column.primary_key else []
    keys += ["unique"] if column.unique else []
    keys += [f"-> {key.column.table.name}.{key.column.name}" for key in column.foreign_keys]
    return ", ".join(keys)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(updated(page.read_text(encoding="utf-8")), encoding="utf-8")
