"""Hypervolume over what was spent: drawn in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nas.report.picture import linear_ticks
from nas.report.tables import engineering

_MARKS: Final = ("●", "○", "◆", "◇", "■", "□")
_SHADES: Final = ("green+", "blue+", "orange+", "magenta+", "cyan+", "red+")

Paths = Mapping[str, Sequence[Mapping[str, Any]]]


def draw_paths(paths: Paths, *, over: str, title: str, width: int = 80, height: int = 18, colour: bool = False) -> str:
    """Draw one staircase a study, for a terminal.

    Args:
        paths: study -> rows with `hypervolume` and the column of the horizontal axis.
        over: that column.
        title: of the horizontal axis.
        width: of the picture. [characters]
        height: of the picture. [lines]
        colour: with colours, for a terminal that shows them.

    Returns:
        The lines of the picture, or one line that says there is nothing to draw.
    """
    import plotext

    if not any(row["hypervolume"] > 0 for path in paths.values() for row in path):
        return "No hypervolume yet: no final result is better than the reference."
    figure = plotext.figure
    plotext.terminal.limit(False, False)  # our width and height hold, whatever the terminal's are
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, height)
    for place, path in enumerate(paths.values()):
        shade = _SHADES[place % len(_SHADES)] if colour else None
        marker = plotext.marker(_MARKS[place % len(_MARKS)], shade)
        across, up = _spread(path, over, width)
        figure.draw(figure.signal(across, up, marker=marker))
    figure.label(title, "x")
    points = [row for path in paths.values() for row in path]
    for side, name in (("x", over), ("y", "hypervolume")):
        ticks = linear_ticks(0.0, max(float(row[name]) for row in points))
        figure.ruler(side).ticks(ticks, [engineering(t) if t >= 1000 else f"{t:.4g}" for t in ticks])
    text = str(figure.build())
    figure.clear()
    lines = (text if colour else plotext.uncolorize(text)).splitlines()
    legend = "   ".join(f"{_MARKS[place % len(_MARKS)]} {name}" for place, name in enumerate(paths))
    return "\n".join([f"hypervolume    {legend}", *(line.rstrip() for line in lines if line.strip())])


def _spread(path: Sequence[Mapping[str, Any]], over: str, width: int) -> tuple[list[float], list[float]]:
    """A staircase as a point a column: what had been found when so much had been spent."""
    end = max((float(row[over]) for row in path), default=0.0)
    across, up = [], []
    found, volume = iter(path), 0.0
    row = next(found, None)
    for column in range(width + 1):
        spent = end * column / width
        while row is not None and float(row[over]) <= spent * (1 + 1e-9):
            volume = float(row["hypervolume"])
            row = next(found, None)
        across.append(spent)
        up.append(volume)
    return across, up
