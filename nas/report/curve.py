"""A learning curve, drawn for a terminal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

_TICKS: Final = 6

Rows = Sequence[Mapping[str, Any]]


def draw_curve(rows: Rows, *, width: int = 80, height: int = 14, colour: bool = False) -> str:
    """Draw mIoU over epochs.

    Args:
        rows: one an epoch, in order; those without a mIoU are left out.
        width: of the picture. [characters]
        height: of the picture. [lines]
        colour: with colours, for a terminal that shows them.

    Returns:
        The lines of the picture, or one line that says there are too few epochs to draw.
    """
    points = [(int(row["epoch"]), float(row["miou"])) for row in rows if _known(row.get("miou"))]
    if len(points) < 2:
        return "Too few epochs to draw a curve."
    import plotext

    figure = plotext.figure
    plotext.terminal.limit(False, False)  # our width and height hold, whatever the terminal's are
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, height)
    dense = _interpolated(points, 2 * width)
    figure.draw(figure.signal(*zip(*dense, strict=True), marker=plotext.marker("·", "green+" if colour else None)))
    figure.draw(figure.signal(*zip(*points, strict=True), marker=plotext.marker("●", "green+" if colour else None)))
    figure.label("epoch", "x")
    ticks = _whole(points[0][0], points[-1][0])
    figure.ruler("x").ticks(ticks, [str(tick) for tick in ticks])
    levels = _levels([miou for _, miou in points])
    figure.ruler("y").ticks(levels, [f"{level:.3f}" for level in levels])
    text = str(figure.build())
    figure.clear()
    lines = (text if colour else plotext.uncolorize(text)).splitlines()
    return "\n".join(["mIoU", *(line.rstrip() for line in lines if line.strip())])


def _known(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _interpolated(points: Sequence[tuple[int, float]], count: int) -> list[tuple[float, float]]:
    """Points on the straight lines between neighbours, about one a column."""
    (first, _), (last, _) = points[0], points[-1]
    found = []
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        steps = max(1, round(count * (x1 - x0) / (last - first)))
        found += [(x0 + (x1 - x0) * k / steps, y0 + (y1 - y0) * k / steps) for k in range(steps)]
    return [*found, (float(last), points[-1][1])]


def _whole(first: int, last: int) -> list[int]:
    """Whole numbers from the first to the last, few enough to label."""
    step = max(1, -(-(last - first) // (_TICKS - 1)))
    return list(range(first, last + 1, step))


def _levels(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    if high <= low:
        return [low]
    return [low + (high - low) * k / 4 for k in range(5)]
