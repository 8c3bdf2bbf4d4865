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

_MANY = 2_000
_WIDE = 20.0  # ranges beyond this factor get a logarithmic axis
HOVER = ("number", "miou", "macs", "params", "backbone", "model", "context", "align", "refine", "head", "seed")
# Plotly's toolbar offers to upload a picture to its makers: what is measured here is nobody else's.
_OFFLINE = {"showSendToCloud": False, "displaylogo": False}
_SAID = ("network", "data", "size", "classes", "source")  # of a published network

Rows = Sequence[Mapping[str, Any]]


class _Axis(NamedTuple):
    name: str
    log: bool
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def words(self, value: float) -> str:
        return engineering(value) if abs(value) >= 1000 else f"{value:.3g}"


def draw(
    rows: Rows,
    front: Rows,
    *,
    x: str,
    y: str,
    published: Rows = (),
    width: int = 80,
    height: int = 20,
    colour: bool = False,
) -> str:
    """Draw all rows as dots, the front as filled circles and published networks as diamonds, for a terminal.

    Args:
        rows: every trial; those without a number for both axes are left out.
        front: those to stand out.
        x: the column along the horizontal axis; logarithmic when its values span more than a factor of 20.
        y: the column along the vertical axis.
        published: networks of others, to lay beside them.
        width: of the picture. [characters]
        height: of the picture. [lines]
        colour: with colours, for a terminal that shows them.

    Returns:
        The lines of the picture, or one line that says there is nothing to draw.
    """
    series = [
        _Series("· trials", "·", "gray", _points(rows, x, y)),
        _Series("◇ published", "◇", "blue+", _points(published, x, y)),
        _Series("● front", "●", "green+", _points(front, x, y)),
    ]
    every = [point for one in series for point in one.points]
    if not every:
        return f"No trial has both {label(x)} and {label(y)} yet."
    across, up = _axis(x, [p[0] for p in every]), _axis(y, [p[1] for p in every], logarithmic=False)
    return _plotted(series, across, up, (width, height), colour=colour)


class _Series(NamedTuple):
    name: str
    mark: str
    shade: str
    points: list[tuple[float, float]]


def _plotted(
    series: Sequence[_Series],
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
    every = [point for one in series for point in one.points]
    for one in series:
        if one.points:
            marker = plotext.marker(one.mark, one.shade if colour else None)
            places = [across.place(p[0]) for p in one.points], [p[1] for p in one.points]
            figure.draw(figure.signal(*places, marker=marker))
    figure.label(f"{label(across.name)}{' (logarithmic)' if across.log else ''}", "x")
    for axis, side in ((across, "x"), (up, "y")):
        ruler = figure.ruler(side)
        ruler.ticks([axis.place(t) for t in axis.ticks], [axis.words(t) for t in axis.ticks])
        ruler.lim(*_limits([axis.place(p[side == "y"]) for p in every] + [axis.place(t) for t in axis.ticks]))
    text = str(figure.build())
    figure.clear()
    lines = (text if colour else plotext.uncolorize(text)).splitlines()
    # The legend stands above the canvas, where it hides no trial.
    legend = "   ".join(one.name for one in reversed(series) if one.points or one.mark != "◇")
    return "\n".join([f"{label(up.name)}    {legend}", *(line.rstrip() for line in lines if line.strip())])


def write_html(path: Path, rows: Rows, front: Rows, *, x: str, y: str, title: str, published: Rows = ()) -> None:
    """Write the picture as one HTML page: hover shows the network, nothing is fetched from anywhere.

    Args:
        path: the file to write.
        rows: every trial; those without a number for both axes are left out.
        front: those to stand out.
        x: the column along the horizontal axis.
        y: the column along the vertical axis.
        title: the heading.
        published: networks of others, to lay beside them.

    Raises:
        StoreError: the file cannot be written.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    best = sorted(_complete(front, x, y), key=lambda row: float(row[x]))
    others = _complete(published, x, y)
    every = [*_complete(rows, x, y), *others]
    # Thousands of points are drawn by the graphics card; few look better as vectors.
    scatter = figure.add_scattergl if len(every) > _MANY else figure.add_scatter
    for points, name, mode, marker in (
        (_complete(rows, x, y), "trials", "markers", {"color": "#9aa0a6", "size": 7}),
        (others, "published", "markers", {"color": "#0b6bcb", "size": 10, "symbol": "diamond-open"}),
        (best, "front", "lines+markers", {"color": "#1a7f37", "size": 11}),
    ):
        if not points and name == "published":
            continue
        scatter(
            x=[row[x] for row in points],
            y=[row[y] for row in points],
            name=name,
            mode=mode,
            marker=marker,
            line={"shape": "hv", "width": 1, "color": marker["color"]},
            text=[_described(row, (x, y)) for row in points],
            hoverinfo="text",
        )
    log = _axis(x, [float(row[x]) for row in every]).log
    figure.update_layout(
        title=html.escape(title),
        template="plotly_white",
        xaxis={"title": label(x), "type": "log" if log else "linear", "exponentformat": "SI"},
        yaxis={"title": label(y)},
    )
    try:
        page = figure.to_html(include_plotlyjs=True, full_html=True, config=_OFFLINE)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        got = {"path": str(path), "error": error.strerror}
        raise StoreError(law("--html", "a file that can be written", got, "Give another path")) from error


def _described(row: Mapping[str, Any], axes: tuple[str, str]) -> str:
    said = _SAID if "network" in row else ()
    names = [n for n in dict.fromkeys((*said, *HOVER[:1], *axes, *HOVER[1:])) if row.get(n) is not None]
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
    return _Axis(name, log, _log_ticks(low, high) if log else linear_ticks(low, high))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)

    def within(steps: tuple[int, ...]) -> tuple[float, ...]:
        every = (step * 10.0**decade for decade in decades for step in steps)
        return tuple(tick for tick in every if low * 0.7 <= tick <= high * 1.4)

    whole = within((1,))
    # One or two labels say little: 2 and 5 help.
    return whole if len(whole) > 2 else within((1, 2, 5))


def linear_ticks(low: float, high: float, *, about: int = 5) -> tuple[float, ...]:
    """Round values from below `low` to above `high`, about so many."""
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
