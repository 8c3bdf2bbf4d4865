"""Repetitions: trials that differ in their seed alone, taken as one result with its spread."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

KEYS: Final = ("fingerprint", "protocol_fingerprint")
"""What trials that differ in the seed alone have in common: the architecture, and all else that changes a result."""

NEEDED: Final = (*KEYS, "identity", "seed", "number", "study")
"""Columns that `grouped` reads."""


def grouped(rows: Sequence[Mapping[str, Any]], values: Iterable[str]) -> list[dict[str, Any]]:
    """One row for all trials that differ in the seed alone, in the order of the first of each.

    A result that was replayed is counted once. A value is the mean over the seeds that have one.

    Args:
        rows: flat dicts with the columns `NEEDED` and the values.
        values: columns to average.

    Returns:
        The facts of the first trial, with the means in place of its values, and beside them `<value>_sd` (the standard
        deviation of a sample; None for one seed), `n` (seeds), `numbers` and `seeds` (as text).
    """
    groups: dict[tuple[object, ...], dict[object, Mapping[str, Any]]] = {}
    for row in rows:
        repeated = groups.setdefault(tuple(row[key] for key in KEYS), {})
        repeated.setdefault(row["identity"], row)
    wanted = tuple(values)
    return [_merged(list(group.values()), wanted) for group in groups.values()]


def _merged(group: list[Mapping[str, Any]], values: tuple[str, ...]) -> dict[str, Any]:
    row = dict(group[0])
    for name in values:
        known = [float(v) for each in group if (v := each[name]) is not None and math.isfinite(v)]
        # A cost that is the same with every seed stays the whole number that it is.
        row[name] = group[0][name] if len(set(known)) == 1 else statistics.fmean(known) if known else None
        row[f"{name}_sd"] = statistics.stdev(known) if len(known) > 1 else None
    row["n"] = len(group)
    for name, column in (("numbers", "number"), ("seeds", "seed"), ("study", "study")):
        row[name] = " ".join(dict.fromkeys(str(each[column]) for each in group))
    return row
