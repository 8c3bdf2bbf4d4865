"""Hypervolume over what was spent, for people: as shares of a perfect network, in hours or GPU hours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from blocks.errors import NasError, QueryError, law, nearest
from nas.analysis.fronts import FINAL
from nas.analysis.progress import box, default_reference, progress
from nas.analysis.skyline import schedules
from nas.report.objectives import Axes, limits_of
from nas.report.tables import human

if TYPE_CHECKING:
    from nas.store import Store

_COLUMNS: Final = ("number", "state", "epochs", "train_seconds", "ended", "identity", "outside", "device")

Row = dict[str, Any]


class Progress(NamedTuple):
    """What was found when so much had been spent.

    Args:
        paths: study -> one row a trial: `trial`, `epochs`, `hours`, `hypervolume` (1 is a perfect network at no cost).
        reference: the point that hypervolume is measured from.
        hours: what the hours are: `hours` or `gpu_hours`.
    """

    paths: dict[str, list[Row]]
    reference: dict[str, float]
    hours: str


def progress_of(
    store: Store, studies: Mapping[int, str], axes: Axes, reference: str | None, gpus: float | None
) -> Progress:
    """Follow some studies, all measured from one point.

    Args:
        store: that holds them.
        studies: id -> name.
        axes: what is compared.
        reference: `miou=0,macs=1e10`, or None for scores of 0 and the greatest final costs of them all.
        gpus: that one trial used, or None for what the study's space says; 1 where it cannot be read. [count]

    Raises:
        QueryError: the reference does not fit the objectives.
    """
    columns = (*_COLUMNS, *axes.objectives)
    rows = {name: recorded(store, key, columns) for key, name in studies.items()}
    everything = [row for each in rows.values() for row in each]
    worst = reference_of(reference, axes.objectives) or default_reference(everything, axes.objectives)
    whole = box(axes.objectives, worst)
    on_gpus = any(took_gpu(row) for row in everything)
    paths = {}
    for name, each in rows.items():
        share = 1.0 if not on_gpus else gpus or gpus_of(store, name)
        path = progress(each, axes.objectives, worst, gpus=share)
        paths[name] = [row | {"hypervolume": float(str(row["hypervolume"])) / whole} for row in path]
    return Progress(paths, worst, "gpu_hours" if on_gpus else "hours")


def reference_of(text: str | None, objectives: Mapping[str, str]) -> dict[str, float] | None:
    """Read a reference point; None where none was written.

    Raises:
        QueryError: it lacks an objective, or has something else.
    """
    if text is None:
        return None
    found = limits_of(text, "--reference")
    if extra := [name for name in found if name not in objectives]:
        needs = "values of the objectives alone"
        raise QueryError(law("--reference", needs, {"name": extra[0]}, nearest(extra[0], objectives)))
    if missing := [name for name in objectives if name not in found]:
        remedy = "Write it as " + ",".join(f"{name}=0" for name in objectives)
        raise QueryError(law("--reference", "a value for each objective", {"missing": missing}, remedy))
    return found


def stated(reference: Mapping[str, float], axes: Axes) -> str:
    """Write a reference point for a title."""
    return ", ".join(f"{axes.names.get(n, n)} {human(n, value) if value else 0}" for n, value in reference.items())


def table_rows(found: Progress, *, every: bool) -> list[Row]:
    """The rows of all studies; of each the steps alone, unless `every` trial is wanted."""
    return [
        {
            "study": name,
            "trial": row["trial"],
            "epochs": row["epochs"],
            found.hours: row["hours"],
            "hypervolume": row["hypervolume"],
        }
        for name, path in found.paths.items()
        for row in (path if every else _steps(path))
    ]


def _steps(path: Sequence[Row]) -> list[Row]:
    """The trials that found something new, and the last."""
    found, volume = [], 0.0
    for row in path:
        if row["hypervolume"] > volume:
            found.append(row)
            volume = row["hypervolume"]
    return found if not path or (found and found[-1] is path[-1]) else [*found, path[-1]]


def recorded(store: Store, study: int, columns: Sequence[str]) -> list[Row]:
    """The trials of a study, those with fewer epochs than its usual ones in the state `shorter`: they are not final."""
    usual = schedules(store.counted([study])).get(study, 0)
    if any(name.startswith("iou.") for name in columns):
        rows = store.rows([row["id"] for row in store.trials(study, columns=["id"])], columns)
    else:
        rows = store.trials(study, columns=columns)
    return [row | {"state": "shorter"} if row["state"] in FINAL and row["epochs"] < usual else row for row in rows]


def took_gpu(row: Mapping[str, Any]) -> bool:
    """Tell whether a trial was trained on an accelerator that is counted, by its `device`."""
    return re.split("[: ]", str(row["device"] or "cpu"))[0].casefold() not in ("cpu", "mps")


def gpus_of(store: Store, study: str) -> float:
    """GPUs that a trial of this study has by its space; 1 where that cannot be read. [count]"""
    # It brings torch, which only GPU hours are worth waiting for.
    from nas.space import Space

    try:
        return float(Space.loads(store.find_study(study)["space"]).resources.gpus) or 1.0
    except NasError:
        return 1.0
