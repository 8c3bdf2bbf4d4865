"""What the page is drawn from: plain data for JSON, by columns, so that a hundred thousand trials stay small."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

from nas.report.labels import label
from nas.report.page.collect import Collected, axes_of
from nas.report.page.ladder import Step
from nas.report.tables import human
from nas.store import as_text

Plain = dict[str, Any]

_POINTS: Final = 200  # of one curve; a screen shows no more
_LONGEST: Final = 4_000  # characters of a traceback or a log: their ends say why
_LISTED: Final = (
    *("number", "state", "miou", "miou_best", "pixel_accuracy", "macs", "macs_conv", "params", "activation_bytes"),
    *("latency_ms", "peak_memory_bytes", "train_memory_bytes", "train_seconds", "epochs", "epochs_planned", "seed"),
    *("backbone", "model", "context", "align", "refine", "head", "arm", "rung", "retries", "accumulation", "outside"),
    *("exceeded", "exceeded_value", "exceeded_limit", "host", "device", "origin", "error", "fingerprint"),
)


def payload(collected: Collected, *, store: str | None = None) -> Plain:
    """Spell out all that the page shows.

    Args:
        collected: what is known.
        store: what `--store` was given, for the commands on the page; None where it need not be given.
    """
    rows = collected.rows
    place = {row["number"]: index for index, row in enumerate(rows)}
    front = [place[row["number"]] for row in collected.front]
    return {
        **_heading(collected),
        "labels": {name: label(name) for name in _LISTED},
        "axes": axes_of(collected),
        "x": collected.x,
        "y": collected.y,
        "columns": {name: packed([row.get(name) for row in rows]) for name in _LISTED},
        "questions": _table([row["answers"] for row in rows]),
        "choices": _table([collected.chosen.get(row["id"], {}) for row in rows]),
        "class_iou": {str(index): rows[index]["class_iou"] for index in front if rows[index].get("class_iou")},
        "classes": list(collected.classes),
        "front": front,
        "curves": _curves(collected),
        "rungs": [_rung(step, place) for step in collected.rungs],
        "reference": collected.reference,
        "progress": _records(collected.progress),
        "effects": _records(collected.effects),
        "importances": _records(collected.importances),
        "failures": _failures(collected, place),
        "provenance": [_run(row) for row in collected.provenance],
        "commands": _commands(collected.study["name"], store),
    }


def _heading(collected: Collected) -> Plain:
    study = collected.study
    return {
        "name": study["name"],
        "seed": study["seed"],
        "created": human("created", study["created"]),
        "written": human("written", datetime.now(UTC)),
        "version": version("segnas"),
        "store": collected.store,
        "space": study["space"],
        "budget": study["budget"],
        "objectives": collected.objectives,
        "counts": collected.counts,
        "usual": collected.usual,
        "notes": list(collected.notes),
    }


def _rung(step: Step, place: Mapping[int, int]) -> Plain:
    return {
        "epochs": step.epochs,
        "trials": [place[one.number] for one in step.trials],
        "miou": [_plain(one.miou) for one in step.trials],
        "went_on": [one.went_on for one in step.trials],
    }


def packed(values: Sequence[object]) -> Any:
    """A column: numbers as they are; anything else as its few different values and a code for each row."""
    plain = [_plain(value) for value in values]
    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in plain):
        return plain if any(value is not None for value in plain) else {"levels": [None], "codes": None}
    levels = {value: code for code, value in enumerate(dict.fromkeys(plain))}
    return {"levels": list(levels), "codes": [levels[value] for value in plain] if len(levels) > 1 else None}


def _table(rows: Sequence[Mapping[str, object]]) -> Plain:
    """Packed columns of rows that need not all have the same keys."""
    return {name: packed([row.get(name) for row in rows]) for name in dict.fromkeys(key for row in rows for key in row)}


def _plain(value: object) -> Any:
    """A value that JSON has a word for; what is nested is text."""
    match value:
        case None | bool() | str():
            return value
        case int():
            # Above 2^53 a browser would round: seeds are read, never computed with.
            return value if abs(value) < 1 << 53 else str(value)
        case float():
            return float(f"{value:.7g}") if math.isfinite(value) else None
        case tuple() | list():
            return as_text(tuple(value))
    return human("", value)


def _records(rows: Iterable[Mapping[str, object]]) -> list[Plain]:
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _curves(collected: Collected) -> Plain:
    """Index -> epochs and figures, thinned where a curve has more points than a screen shows."""
    found: Plain = {}
    for index, row in enumerate(collected.rows):
        if curve := collected.curves.get(row["replay_of"] or row["id"]):
            step = -(-len(curve) // _POINTS)
            kept = [point for at, point in enumerate(curve) if at % step == 0 or at == len(curve) - 1]
            found[str(index)] = {name: [_plain(point[name]) for point in kept] for name in ("epoch", "miou", "loss")}
    return found


def _failures(collected: Collected, place: Mapping[int, int]) -> list[Plain]:
    """Why trials failed, were rejected or skipped: a row for each reason, the most frequent first."""
    groups: dict[tuple[str, str], Plain] = {}
    for row in collected.rows:
        if row["state"] not in ("failed", "rejected", "skipped"):
            continue
        reason = _reason(row)
        group = groups.setdefault((row["state"], reason), {"state": row["state"], "reason": reason, "trials": []})
        group["trials"].append(place[row["number"]])
        words = collected.last_words.get(row["id"])
        if words and "traceback" not in group:
            group |= {name: (words[name] or "")[-_LONGEST:] for name in ("traceback", "log")}
    return sorted(groups.values(), key=lambda group: (_ORDER.index(group["state"]), -len(group["trials"])))


_ORDER: Final = ("failed", "skipped", "rejected")


def _reason(row: Mapping[str, Any]) -> str:
    if row["state"] == "rejected":
        limit = row["exceeded"] or ""
        return f"{label(limit)} above {human(limit, row['exceeded_limit'])}" if limit else "over its budget"
    lines = (row["error"] or "").strip().splitlines()
    return lines[0] if lines else "no reason was recorded"


def _run(row: Mapping[str, Any]) -> Plain:
    """One start of the study: name -> text, versions spelled out."""
    facts = dict(row["facts"])
    versions = facts.pop("versions", None)
    said = {"started": human("created", row["created"]), "command": row["command"], "revision": row["revision"]}
    if row["dirty"]:
        said["revision"] = f"{row['revision']} with changes that were not committed"
    said |= {"data fingerprint": row["data_fingerprint"], **facts}
    if isinstance(versions, dict):
        said["versions"] = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    said = {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in said.items()}
    return {name: human(name, value) for name, value in said.items() if value not in (None, "", [])}


def _commands(study: str, store: str | None) -> list[Plain]:
    """What to type for a trial: the words before its number and those after it."""
    own = shlex.quote(study)
    end = f" --store {shlex.quote(store)}" if store else ""
    return [
        {"label": "Show all of it", "before": f"nas show {own} ", "after": end},
        {
            "label": "Train it again, alone",
            "before": f"nas export {own} ",
            # `--fresh`: the store knows its result, and would repeat that instead.
            "after": f" --format yaml{end} -o network.yaml && nas train network.yaml --fresh{end}",
        },
    ]
