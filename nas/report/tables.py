"""Rows (flat dicts) as text: a table for people, CSV, Markdown and JSON for everything else."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, get_args

from blocks.errors import QueryError, law, nearest

Format = Literal["table", "json", "csv", "md"]
Typeset = Literal["table", "json", "csv", "md", "latex", "html"]
TYPESET: Final = get_args(Typeset)
Rows = Sequence[Mapping[str, object]]

# Columns that people read in engineering notation; everything else has a readable size already.
_COUNTS = {"params", "macs", "macs_conv", "flops"}
_SCORES = {"miou", "miou_best", "pixel_accuracy", "iou", "hypervolume", "missing"}
_SPECS = {
    "difference": "+.2%",
    **dict.fromkeys(("front_share", "front_importance", "miou_importance"), ".0%"),
    **{"p": ".2g", "gflops": "+.3g", "miou_per_gflop": "+.3g"},
}
_SAID_OF = re.compile("_(published|first|second|change|sd)$")
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def render(rows: Rows, format: str, *, columns: Sequence[str] | None = None, title: str = "") -> str:
    """Write rows as text, without a newline at the end.

    `table` and `md` round numbers for people; `csv` and `json` keep them as they are.

    Args:
        rows: flat dicts; they need not all have the same keys.
        format: one of `Typeset`.
        columns: which keys, in which order; by default every key that occurs, in order of appearance.
        title: a line above a `table`, the caption in `latex` and `html`; other formats have no place for it.

    Raises:
        QueryError: there is no such format.
    """
    check_format(format, TYPESET)
    names = list(columns) if columns is not None else list(dict.fromkeys(key for row in rows for key in row))
    if format == "json":
        return json.dumps([{n: _plain(row.get(n)) for n in names} for row in rows], indent=2, allow_nan=False)
    if format == "csv":
        return _csv(rows, names)
    if format in ("latex", "html"):
        return _typeset(rows, names, title, format)
    return _markdown(rows, names) if format == "md" else _table(rows, names, title)


def telling(rows: Rows, columns: Iterable[str]) -> list[str]:
    """The columns that tell people something: none without a word, no component or seed that goes without saying.

    Args:
        rows: flat dicts.
        columns: in the order in which they are wanted.

    Returns:
        Of `columns` those to show; all of them when there are no rows.
    """
    wanted = list(columns)
    return [name for name in wanted if not rows or _tells(rows, name, wanted)]


def _tells(rows: Rows, name: str, columns: Sequence[str]) -> bool:
    said = {str(row.get(name)) for row in rows if row.get(name) not in (None, "")}
    match name:
        case "backbone":
            # Whoever reads a model's name knows that timm made it.
            return bool(said) and not (said == {"timm"} and "model" in columns)
        case "refine":
            return bool(said - {"none"})
        case "seed":
            return len(said) > 1
    return bool(said)


def check_format(format: str, formats: Sequence[str] = get_args(Format)) -> None:
    """Refuse a format that does not exist, before any work is done for it.

    Args:
        format: what a person asked for.
        formats: what there is.

    Raises:
        QueryError: it does not.
    """
    if format not in formats:
        raise QueryError(law("--format", "one of " + ", ".join(formats), {"format": format}, nearest(format, formats)))


def human(name: str, value: object) -> str:
    """Write one cell the way people read it: `1.23 G`, `0.3171`, nothing for None.

    Args:
        name: of the column; its ending says the unit (`_bytes`, `_ms`, `_seconds`).
        value: what the cell holds.
    """
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return _number(name, value)
        case datetime():
            # The reader's own time zone; files keep UTC.
            return value.astimezone().strftime("%Y-%m-%d %H:%M")
        case list() | tuple() | dict():
            return json.dumps(value, default=str)
    return str(value)


def _number(name: str, value: float) -> str:
    if math.isnan(value):
        return ""
    if spec := "+.2%" if name.endswith("_difference") else _SPECS.get(name):
        return format(value, spec)
    figure = _SAID_OF.sub("", name)
    if figure in _COUNTS or name.endswith("_bytes"):
        return engineering(value, "B" if name.endswith("_bytes") else "")
    if (figure in _SCORES and isinstance(value, float)) or name.endswith(("_iou", "_miou")):
        return f"{value:.4f}"
    if name.endswith(("_ms", "seconds")):
        return f"{value:.1f}"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def engineering(value: float, unit: str = "") -> str:
    """Write a number with three digits and a prefix: 1234567 -> `1.23 M`."""
    for size, prefix in _PREFIXES:
        # 999.5 k would round to 1000 k: it is 1.00 M.
        if abs(value) >= size * 0.9995:
            scaled = value / size
            digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
            return f"{scaled:.{digits}f} {prefix}{unit}"
    return f"{value:g} {unit}".rstrip()


def _plain(value: object) -> object:
    """Turn what JSON has no word for into what it has."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    # Flat objects only: what is nested travels as text.
    return json.dumps(value, default=str)


def _csv(rows: Rows, names: list[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_plain(row.get(n)) for n in names] for row in rows)
    return text.getvalue().rstrip("\n")


def _markdown(rows: Rows, names: list[str]) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    rule = line("---:" if _numeric(rows, n) else "---" for n in names)
    return "\n".join([line(names), rule, *(line(human(n, row.get(n)) for n in names) for row in rows)])


def _typeset(rows: Rows, names: list[str], title: str, format: str) -> str:
    from nas.report import sheet

    cells = [[human(name, row.get(name)) for name in names] for row in rows]
    numeric = [_numeric(rows, name) for name in names]
    ready = sheet.Sheet(name=title, headings=names, rows=cells, numeric=numeric, caption=title)
    return sheet.latex(ready) if format == "latex" else sheet.html_table(ready)


def _table(rows: Rows, names: list[str], title: str) -> str:
    # rich is for tables alone: it need not be loaded to write JSON.
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, justify="right" if _numeric(rows, name) else "left", overflow="fold")
    for row in rows:
        # As Text: a value like "[red]" is data, not markup.
        table.add_row(*(Text(human(name, row.get(name))) for name in names))
    text = io.StringIO()
    # A file or a pipe has no width to respect; a terminal has.
    Console(file=text, width=_width(), color_system=None, legacy_windows=False).print(table)
    lines = [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]
    return "\n".join([title, *lines] if title else lines)


def _width() -> int:
    import shutil
    import sys

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 400


def _numeric(rows: Rows, name: str) -> bool:
    values = [row[name] for row in rows if row.get(name) is not None]
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
