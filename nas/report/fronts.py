"""A front for people: what the columns are, what the title says, what was left out and why."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from blocks.architecture import canonical_json, fingerprint
from blocks.errors import QueryError, law
from nas.analysis.compared import Answer
from nas.analysis.fronts import FINAL
from nas.analysis.skyline import unbeaten
from nas.report.objectives import Axes
from nas.report.picture import HOVER
from nas.report.tables import human

if TYPE_CHECKING:
    from nas.store import Store

COMPONENTS: Final = ("backbone", "model", "context", "align", "refine", "head")
WHY: Final = {
    "stopped": "stopped early",
    "paused": "waiting for early stopping",
    "interrupted": "interrupted",
    "running": "in training",
    "shorter": "with fewer epochs than is usual",
}
"""Why a trial with results is not final."""

COUNTED: Final = ("miou", "macs", "macs_conv", "params", "activation_bytes")
"""What is known of a published network."""

_WIDTH: Final = 100  # of prose below a table [characters]

Row = dict[str, Any]


def columns(objectives: Iterable[str], *, several: bool, mean: bool, early: bool) -> list[str]:
    """The columns of a front, the first of a study's name where there are several."""
    spread = [part for name in objectives for part in ((name, f"{name}_sd") if mean else (name,))]
    own = ("numbers", "n") if mean else ("number",)
    head = (*(("study",) if several else ()), *own, *(("state",) if early else ()), *spread)
    tail = ("seeds",) if mean else ("seed",)
    return list(dict.fromkeys((*head, "miou", "macs", "params", *COMPONENTS, *tail, "epochs")))


def title(studies: Sequence[str], answer: Answer, objectives: Mapping[str, str], *, early: bool, mean: bool) -> str:
    """How many of how many are on the front of what."""
    goals = ", ".join(f"{name} ({direction})" for name, direction in objectives.items())
    kind = ("networks" if mean else "trials") + (", final or not," if early else "")
    kind = kind if early else f"finished {kind}"
    about = "" if answer.whole else "about "
    count = f"{answer.compared}" if answer.whole else f"{answer.compared:,}"
    return f"{' + '.join(studies)}: {len(answer.front)} of {about}{count} {kind} are on the front of {goals}"


def notes(answer: Answer, names: Mapping[int, str], objectives: Iterable[str], data: Mapping[str, str]) -> list[str]:
    """What the reader of the table must know.

    Args:
        answer: that the table shows.
        names: study -> what it is called.
        objectives: by the names that people use.
        data: what the studies were trained on, of `trained_on`.
    """
    found = [*differing(data)]
    if not answer.front:
        found.append(f"No trial that counts here has all of {', '.join(objectives)}.")
    if answer.left_out:
        parts = [f"{count} {WHY[why]}" for why, count in answer.left_out.items()]
        usual = ", ".join(f"{names[key]} {epochs}" for key, epochs in answer.schedules.items())
        shorter = f" (epochs: {usual})" if "shorter" in answer.left_out else ""
        found.append(f"Left out, because they are not final: {', '.join(parts)}{shorter}. --early shows them, marked.")
    if len(set(answer.schedules.values())) > 1:
        usual = ", ".join(f"{names[key]}: {epochs}" for key, epochs in answer.schedules.items())
        found.append(f"The studies differ in their epochs ({usual}): longer training alone may win.")
    if not answer.whole:
        found.append(f"The picture shows a sample of {len(answer.cloud):,} beside the front.")
    return found


def trained_on(store: Store, names: Mapping[int, str]) -> dict[str, str]:
    """Study -> what its first trial was trained on, as a word and a fingerprint; without those that have no trials."""
    found = {}
    for key, name in names.items():
        if row := store.trial(key, 0):
            protocol = json.loads(row["protocol"])
            told = canonical_json([protocol["data"], protocol["data_fingerprint"]])
            found[name] = f"{next(iter(protocol['data']))} {fingerprint(told)[:6]}"
    return found


def differing(data: Mapping[str, str]) -> list[str]:
    """Say so where studies were trained on different data."""
    if len(set(data.values())) < 2:
        return []
    told = ", ".join(f"{study}: {words}" for study, words in data.items())
    return [f"The studies differ in their data or its size ({told}): their mIoU is not comparable."]


def marked(rows: Iterable[Row], schedules: Mapping[str, int]) -> list[Row]:
    """Say of each row whether it is `final`: its study's usual schedule was trained to the end."""
    return [row | {"final": row["state"] in FINAL and row["epochs"] >= schedules.get(row["study"], 0)} for row in rows]


def limit_rows(limits: Sequence[Mapping[str, float]], best: Sequence[Row | None]) -> list[Row]:
    """One row for each set of limits, which comes first."""
    return [{"under": _limited(limit)} | (row or {}) for limit, row in zip(limits, best, strict=True)]


def _limited(limit: Mapping[str, float]) -> str:
    return ", ".join(f"{name} <= {human(name, value)}" for name, value in limit.items())


def check_known(objectives: Iterable[str]) -> None:
    """Refuse to compare what is not known of published networks.

    Raises:
        QueryError: it is not.
    """
    for name in objectives:
        if name not in COUNTED:
            needs = "objectives that are known of them: " + ", ".join(COUNTED)
            raise QueryError(law("--published", needs, {"objective": name}, "Choose others with --objective"))


def beside(front: Sequence[Row], published: Sequence[Row], objectives: Mapping[str, str]) -> list[Row]:
    """Published rows with `unbeaten`: whether no trial of ours and no other published network beats them."""
    everything = [*front, *published]
    values = np.array([[row[name] for name in objectives] for row in everything], dtype=np.float64)
    kept = unbeaten(values.reshape(len(everything), len(objectives)), [d == "max" for d in objectives.values()])
    return [row | {"unbeaten": bool(keep)} for row, keep in zip(published, kept[len(front) :], strict=True)]


def cloud(store: Store, answer: Answer, axes: Axes, *, described: bool) -> list[Row]:
    """What is drawn behind the front: the bare figures, or all that a page shows of a trial under the pointer."""
    if described:
        return axes.called(store.rows(answer.cloud_ids.tolist(), (*axes.objectives, *HOVER)))
    return axes.called([dict(zip(axes.objectives, row, strict=True)) for row in answer.cloud.tolist()])


def counting(published: Sequence[Row], ours: tuple[int, int, int] | None) -> str:
    """What stands under published figures."""
    said = (
        "mIoU of one scale, as the source prints it; costs are counted by nas, of the same network at the stated input "
        "size. macs: multiply-accumulates of everything; macs_conv: of convolutions and linear layers alone."
    )
    said += " Where a source does not say at what size it was tested, that is the file's."
    sizes = sorted({str(row["size"]) for row in published})
    if ours is not None and sizes != [own := f"{ours[0]}x{ours[1]}"]:
        said += f" The costs of the trials are for {own} and {ours[2]} classes: --size {own} states all for that."
    return textwrap.fill(said, _WIDTH)
