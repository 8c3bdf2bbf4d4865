"""All that a report tells of a study, read from the store once: rows, front, curves, rungs, what failed, and whence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from blocks.errors import QueryError, StoreError
from nas.analysis.effects import effects
from nas.analysis.fronts import direction_of, front
from nas.analysis.progress import box, default_reference, progress
from nas.analysis.skyline import schedules, skyline
from nas.report.page.ladder import Step, ladder
from nas.store.columns import FLAT, canonical, is_numeric

if TYPE_CHECKING:
    from nas.store import Store
    from nas.store.fronts import Count

Row = dict[str, Any]

DRAWN: Final = 100_000
"""Trials on a page, at most: browsers draw so many points, and no more."""

_CURVES: Final = 5_000  # trials whose epochs are on the page
_WEIGHED: Final = 5_000  # trials up to which importances are computed; beyond, that takes minutes
_FAILURES: Final = 200  # trials whose traceback and log are


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What is known of a study.

    Args:
        study: its row: name, seed, objectives, budget, settings, space, created.
        store: where it lies, without a password.
        counts: state -> trials, of all of them.
        usual: epochs of the full schedule; what was trained for fewer is not final. [epochs]
        rows: flat rows with `answers`, in order of number: all trials, or a sample that holds the whole front.
        front: the rows that no other beats.
        objectives: name -> `max` or `min`, those that are columns.
        x: the column along the horizontal axis.
        y: the column along the vertical axis.
        curves: trial id -> its epochs; a replayed trial has those of `replay_of`.
        chosen: trial id -> path -> value as text.
        last_words: trial id -> `traceback` and `log`, of what failed.
        rungs: who reached which rung, and who went on.
        provenance: a row each time the study was started or resumed.
        reference: for each objective the worst value that the hypervolume counts.
        progress: `trial`, `epochs`, `hours`, `hypervolume` and `share` (of what a perfect network at no cost would
            reach) after each trial that ended.
        effects: a row for each option of each question.
        importances: a row for each question: what sets the best networks apart, by PED-ANOVA.
        classes: their names, where the data set is known.
        notes: what a reader must know of how this was made.
    """

    study: Row
    store: str
    counts: Mapping[str, int]
    usual: int
    rows: Sequence[Row]
    front: Sequence[Row]
    objectives: Mapping[str, str]
    x: str
    y: str
    curves: Mapping[int, Sequence[Row]]
    chosen: Mapping[int, Mapping[str, str | None]]
    last_words: Mapping[int, Row]
    rungs: Sequence[Step]
    provenance: Sequence[Row]
    reference: Mapping[str, float] = field(default_factory=dict)
    progress: Sequence[Row] = ()
    effects: Sequence[Row] = ()
    importances: Sequence[Row] = ()
    classes: Sequence[str] = ()
    notes: Sequence[str] = ()


def collect(store: Store, name: str, *, most: int = DRAWN) -> Collected:
    """Read all that a report of this study tells.

    Args:
        store: to read from.
        name: of the study.
        most: trials to take up; of more, the front and an even sample of the others are. [count]

    Raises:
        QueryError: there is no such study.
    """
    study = store.find_study(name)
    objectives = {canonical(goal): way for goal, way in study["objectives"].items() if canonical(goal) in FLAT}
    counted = store.counted([study["id"]])
    usual = schedules(counted).get(study["id"], 0)
    rows = _rows(store, counted, objectives, usual, most)
    best = front([row for row in rows if row["epochs"] >= usual], objectives) if objectives else []
    told = _by_interest(rows, best)[:_CURVES]
    failed = [row["id"] for row in rows if row["state"] == "failed"][:_FAILURES]
    with store.gathered() as gathered:
        # A replayed trial was not trained: its curve is that of the trial whose result it has.
        curves = gathered.curves([row["replay_of"] or row["id"] for row in told])
        chosen = gathered.chosen([row["id"] for row in rows])
        words = gathered.last_words(failed)
    x, y = _axes(objectives)
    reference = default_reference(rows, objectives)
    return Collected(
        study=study,
        store=str(store),
        counts=_by_state(counted),
        usual=usual,
        rows=rows,
        front=best,
        objectives=objectives,
        x=x,
        y=y,
        curves=curves,
        chosen=chosen,
        last_words=words,
        rungs=ladder(study, rows, curves),
        provenance=store.provenance(study["id"]),
        reference=reference,
        progress=_progress(rows, objectives, reference),
        effects=effects(rows, chosen, objectives=objectives) if objectives else [],
        importances=_importances(rows, objectives),
        classes=_classes(store, study["id"], best),
        notes=_notes(sum(count.trials for count in counted), len(rows), len(told)),
    )


def _rows(
    store: Store, counted: Sequence[Count], objectives: Mapping[str, str], usual: int, most: int
) -> Sequence[Row]:
    """All trials, or the front (at most half of the page) and a sample of the others."""
    if not counted:
        return []
    key, total = counted[0].study_id, sum(count.trials for count in counted)
    kept: list[int] = []
    if total > most and objectives:
        read = partial(store.points, {key: usual}, objectives)
        kept = [int(one) for one in skyline(read, total, objectives).ids[: most // 2]]
    with store.gathered() as gathered:
        return gathered.sampled(key, share=1.0 if total <= most else (most - len(kept)) / total, ids=kept)


def _importances(rows: Sequence[Row], objectives: Mapping[str, str]) -> list[Row]:
    if not objectives or len(rows) > _WEIGHED:
        return []
    from nas.propose.importance import importances

    return importances(rows, objectives)


def _classes(store: Store, study_id: int, best: Sequence[Row]) -> Sequence[str]:
    """The names of the classes whose IoU the cards of the front show."""
    if not (shown := [row for row in best if row.get("class_iou")]):
        return ()
    # These bring torch, which a page without classes does not wait for.
    from nas.report.trial import names_of
    from nas.study.recorded import protocol_of

    try:
        return names_of(protocol_of(store.find_trial(study_id, shown[0]["number"])["protocol"]))
    except StoreError:
        # A protocol of another version: classes have their indices alone.
        return ()


def _by_state(counted: Iterable[Count]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for count in counted:
        found[count.state] += count.trials
    return dict(sorted(found.items()))


def _progress(rows: Sequence[Row], objectives: Mapping[str, str], reference: Mapping[str, float]) -> list[Row]:
    if not objectives:
        return []
    try:
        whole = box(objectives, reference)
    except QueryError:
        # A cost to be as great as possible, or one that is always zero: there is no box to take a share of.
        whole = math.nan
    course = progress([row for row in rows if row["ended"] is not None], objectives, reference)
    return [{**row, "share": float(str(row["hypervolume"])) / whole} for row in course]


def _by_interest(rows: Sequence[Row], best: Sequence[Row]) -> list[Row]:
    """The front first, then those that were trained longest: the first few thousand get their curves on the page."""
    ahead = {row["id"] for row in best}
    trained = [row for row in rows if row["epochs"]]
    return sorted(trained, key=lambda row: (row["id"] not in ahead, -row["epochs"], row["number"]))


def _axes(objectives: Mapping[str, str]) -> tuple[str, str]:
    """What the front is drawn over: a score upwards, a cost across."""
    drawn = [name for name in objectives if is_numeric(name)]
    upwards = next((name for name in drawn if objectives[name] == "max"), "miou")
    across = next((name for name in drawn if objectives[name] == "min" and name != upwards), "macs")
    return across, upwards


def axes_of(collected: Collected) -> dict[str, str]:
    """The columns of numbers that some trial has -> `max` or `min`: what can be an axis."""
    names = [name for name in _AXES if any(row.get(name) is not None for row in collected.rows)]
    names = list(dict.fromkeys((collected.x, collected.y, *names)))
    return {name: collected.objectives.get(name, direction_of(name)) for name in names}


_AXES: Final = (
    *("miou", "miou_best", "pixel_accuracy", "macs", "macs_conv", "params", "activation_bytes"),
    *("latency_ms", "peak_memory_bytes", "train_seconds", "train_memory_bytes"),
)


def _notes(total: int, shown: int, curves: int) -> list[str]:
    notes = []
    if shown < total:
        notes.append(
            f"The study has {total:,} trials; this page holds {shown:,} of them: the whole front, and of the "
            "others an even sample by number. Counts of states are of all trials."
        )
    if curves == _CURVES:
        notes.append(f"Learning curves are on the page for {_CURVES:,} trials: the front, then those trained longest.")
    return notes
