"""The front as a picture: drawn in the terminal, or written as one HTML file that needs no network."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from blocks.errors import StoreError, law
from nas.report.labels import label
from nas.report.tables import engineering, human

_WIDE = 20.0  # ranges beyond this factor get a logarithmic axis
_HOVER = ("number", "miou", "macs", "params", "backbone", "model", "context", "align", "refine", "head", "seed")

Rows = Sequence[Mapping[str, Any]]


class _Axis(NamedTuple):
    name: str
    log: bool
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def words(self, value: float) -> str:
        return engineering(value) if abs(value) >= 1000 else f"{value:.3g}"


def draw(rows: Rows, front: Rows, *, x: str, y: str, width: int = 80, height: int = 20, colour: bool = False) -> str:
    """Draw all rows as dots and the front as filled circles, for a terminal.

    Args:
        rows: every trial; those without a number for both axes are left out.
        front: those to stand out.
        x: the column along the horizontal axis; logarithmic when its values span more than a factor of 20.
        y: the column along the vertical axis.
        width: of the picture. [characters]
        height: of the picture. [lines]
        colour: with colours, for a terminal that shows them.

    Returns:
        The lines of the picture, or one line that says there is nothing to draw.
    """
    every, best = _points(rows, x, y), _points(front, x, y)
    if not every and not best:
        return f"No trial has both {label(x)} and {label(y)} yet."
    across, up = _axis(x, [p[0] for p in every + best]), _axis(y, [p[1] for p in every + best], logarithmic=False)
    return _plotted(every, best, across, up, (width, height), colour=colour)


def _plotted(
    every: list[tuple[float, float]],
    best: list[tuple[float, float]],
    across: _Axis,
    up: _Axis,
    size: tuple[int, int],
    *,
    colour: bool,
) -> str:
    import plotext

    figure = plotext.figure
    plotext.terminal.limit(False, False)  # our width and height hold, whatever the terminal's are
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(*size)
    for points, mark, shade in ((every, "·", "gray"), (best, "●", "green+")):
        if points:
            marker = plotext.marker(mark, shade if colour else None)
            figure.draw(figure.signal([across.place(p[0]) for p in points], [p[1] for p in points], marker=marker))
    figure.label(f"{label(across.name)}{' (logarithmic)' if across.log else ''}", "x")
    for axis, side in ((across, "x"), (up, "y")):
        ruler = figure.ruler(side)
        ruler.ticks([axis.place(t) for t in axis.ticks], [axis.words(t) for t in axis.ticks])
        ruler.lim(*_limits([axis.place(p[side == "y"]) for p in every + best] + [axis.place(t) for t in axis.ticks]))
    text = str(figure.build())
    figure.clear()
    lines = (text if colour else plotext.uncolorize(text)).splitlines()
    # The legend stands above the canvas, where it hides no trial.
    return "\n".join([f"{label(up.name)}    ● front   · trials", *(line.rstrip() for line in lines if line.strip())])


def write_html(path: Path, rows: Rows, front: Rows, *, x: str, y: str, title: str) -> None:
    """Write the picture as one HTML page: hover shows the network, nothing is fetched from anywhere.

    Args:
        path: the file to write.
        rows: every trial; those without a number for both axes are left out.
        front: those to stand out.
        x: the column along the horizontal axis.
        y: the column along the vertical axis.
        title: the heading.

    Raises:
        StoreError: the file cannot be written.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    best = sorted(_complete(front, x, y), key=lambda row: float(row[x]))
    for points, name, mode, marker in (
        (_complete(rows, x, y), "trials", "markers", {"color": "#9aa0a6", "size": 7}),
        (best, "front", "lines+markers", {"color": "#1a7f37", "size": 11}),
    ):
        figure.add_scatter(
            x=[row[x] for row in points],
            y=[row[y] for row in points],
            name=name,
            mode=mode,
            marker=marker,
            line={"shape": "hv", "width": 1, "color": marker["color"]},
            text=[_described(row, (x, y)) for row in points],
            hoverinfo="text",
        )
    log = _axis(x, [float(row[x]) for row in _complete(rows, x, y)]).log
    figure.update_layout(
        title=html.escape(title),
        template="plotly_white",
        xaxis={"title": label(x), "type": "log" if log else "linear", "exponentformat": "SI"},
        yaxis={"title": label(y)},
    )
    try:
        path.write_text(figure.to_html(include_plotlyjs=True, full_html=True), encoding="utf-8")
    except OSError as error:
        got = {"path": str(path), "error": error.strerror}
        raise StoreError(law("--html", "a file that can be written", got, "Give another path")) from error


def _described(row: Mapping[str, Any], axes: tuple[str, str]) -> str:
    names = [n for n in dict.fromkeys((*_HOVER[:1], *axes, *_HOVER[1:])) if row.get(n) is not None]
    return "<br>".join(f"{html.escape(n)}: {html.escape(human(n, row[n]))}" for n in names)


def _complete(rows: Rows, x: str, y: str) -> list[Mapping[str, Any]]:
    return [
        row for row in rows if all(isinstance(v, int | float) and math.isfinite(v) for v in (row.get(x), row.get(y)))
    ]


def _points(rows: Rows, x: str, y: str) -> list[tuple[float, float]]:
    return [(float(row[x]), float(row[y])) for row in _complete(rows, x, y)]


def _axis(name: str, values: Sequence[float], *, logarithmic: bool = True) -> _Axis:
    low, high = min(values, default=0.0), max(values, default=1.0)
    log = logarithmic and low > 0 and high / low > _WIDE
    return _Axis(name, log, _log_ticks(low, high) if log else _linear_ticks(low, high))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)

    def within(steps: tuple[int, ...]) -> tuple[float, ...]:
        every = (step * 10.0**decade for decade in decades for step in steps)
        return tuple(tick for tick in every if low * 0.7 <= tick <= high * 1.4)

    whole = within((1,))
    # One or two labels say little: 2 and 5 help.
    return whole if len(whole) > 2 else within((1, 2, 5))


def _linear_ticks(low: float, high: float, *, about: int = 5) -> tuple[float, ...]:
    if high <= low:
        return (low,)
    raw = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw)
    first = math.floor(low / step)
    return tuple(round(k * step, 12) for k in range(first, math.ceil(high / step) + 1))


def _limits(places: Sequence[float]) -> tuple[float, float]:
    low, high = min(places), max(places)
    margin = 0.03 * (high - low) or max(abs(low) * 0.1, 1e-9)
    return low - margin, high + margin
