"""Effects as text: what each option is worth, which pairs depart from their sum, what matters for the best networks."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nas.report.tables import render

Rows = Sequence[Mapping[str, Any]]

_WIDTH: Final = 100  # of prose below a table [characters]
_WORTH: Final = (
    "difference: in mIoU to the mean of the question's options, the other choices being equal (additive regression on "
    "the means over seeds); interval: 95 %, each on its own; p: of no difference, corrected for all rows "
    "(Holm). gflops: what it costs more than that mean [1e9 MACs]; miou_per_gflop: difference / gflops, where there is "
    "a difference and a cost."
)
_TOGETHER: Final = (
    "departure: in mIoU from the sum of both effects, one pair of questions at a time; interval: 95 %, "
    "each on its own; p: of no departure, corrected for all rows (Holm)."
)
_IMPORTANT: Final = (
    "Shares in what sets the best tenth (at least five networks) apart from all: in reaching the front of the study's "
    "objectives, and the highest mIoU. They describe, and are no test: noise has importances too."
)


@dataclass(frozen=True, slots=True)
class Section:
    """A table with what must be said about it.

    Args:
        name: of the section in formats for machines.
        title: above the table.
        rows: flat dicts.
        words: below the table.
        empty: instead of a table without rows.
    """

    name: str
    title: str
    rows: Rows
    words: str
    empty: str


def worth(rows: Rows) -> Section:
    """The section of `nas.analysis.effects.effects`."""
    empty = "No question was answered in more than one way: there is nothing to compare."
    return Section("effects", "What each option is worth", rows, _WORTH, empty)


def together(rows: Rows) -> Section:
    """The section of `nas.analysis.effects.interactions`."""
    empty = "No two questions were asked together in more than one way each."
    return Section("interactions", "Pairs that depart from their sum", rows, _TOGETHER, empty)


def important(rows: Rows) -> Section:
    """The section of `nas.propose.importance.importances`."""
    empty = "Too few networks, or none that differ: PED-ANOVA needs ten."
    return Section("ped_anova", "Importance for the best networks (Optuna's PED-ANOVA)", rows, _IMPORTANT, empty)


def title(study: str, *, networks: int, trials: int, others: int) -> str:
    """What the figures rest on.

    Args:
        study: its name.
        networks: that are compared, seeds averaged. [count]
        trials: final ones of them. [count]
        others: that are left out. [count]
    """
    left = f"; {others} other{'' if others == 1 else 's'} left out, not final or without mIoU" if others else ""
    return f"{study}: {_counted(networks, 'network')} from {_counted(trials, 'final trial')}{left}"


def text(title: str, sections: Sequence[Section], format: str) -> str:
    """All sections; for `json` and `csv` as one list of rows with a column `section`."""
    if format in ("json", "csv"):
        rows = [{"section": section.name, **row} for section in sections for row in section.rows]
        return render(rows, format)
    parts = [title, *(_section(section, format) for section in sections)]
    return "\n\n".join(parts)


def _section(section: Section, format: str) -> str:
    heading = f"**{section.title}**" if format == "md" else section.title
    if not section.rows:
        return f"{heading}\n\n{section.empty}" if format == "md" else f"{heading}\n{section.empty}"
    shared, rows = _shared([_with_interval(row) for row in section.rows])
    columns = [name for name in rows[0] if any(row.get(name) not in (None, "") for row in rows)]
    words = section.words if format == "md" else textwrap.fill(section.words, _WIDTH)
    said = "\n".join([*(f"All rows: {note}." for note in shared), words])
    space = "\n\n" if format == "md" else "\n"
    return f"{heading}{space}{render(rows, format, columns=columns)}{space}{said}"


def _with_interval(row: Mapping[str, Any]) -> dict[str, Any]:
    """Write `low` and `high` as one column, in the unit of the difference between them."""
    # Fractions, as mIoU is everywhere: a percentage would leave open whether of mIoU or of what it is compared with.
    told = {name: _signed(row[name]) for name in ("difference", "departure") if name in row}
    if "low" not in row:
        return dict(row) | told
    ends = None if row["low"] is None else " to ".join(str(_signed(row[end])) for end in ("low", "high"))
    shown = {"interval" if name == "low" else name: value for name, value in row.items() if name != "high"}
    return shown | told | {"interval": ends}


def _signed(value: float | None) -> str | None:
    return None if value is None else f"{value:+.4f}"


def _shared(rows: Rows) -> tuple[list[str], list[dict[str, Any]]]:
    """Notes that every row has, and the rows without them."""
    notes = [str(row.get("note", "")).split("; ") for row in rows]
    shared = [note for note in notes[0] if note and all(note in others for others in notes)]
    return shared, [
        dict(row) if "note" not in row else {**row, "note": "; ".join(note for note in own if note not in shared)}
        for row, own in zip(rows, notes, strict=True)
    ]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
