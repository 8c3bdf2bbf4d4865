"""The main pictures of a study for slides and papers: PNG, readable in print, safe for colour-blind readers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from blocks.errors import StoreError, law
from nas.analysis.fronts import FINAL, candidates, direction_of
from nas.report.labels import label
from nas.report.tables import engineering

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nas.report.page import Collected

# The palette of Okabe and Ito (2008), as on the page.
_BLUE, _ORANGE, _VERMILION, _GREY, _INK = "#0072b2", "#e69f00", "#d55e00", "#a3abb5", "#333333"
_DPI: Final = 200
_WIDE = 20.0  # ranges beyond this factor get a logarithmic axis
_CURVES: Final = 400  # drawn behind the front's; more are a blot
_OPTIONS: Final = 60  # of effects; more do not fit a sheet
_STYLE: Final[dict[Any, Any]] = {
    "font.size": 11,
    "axes.labelsize": 12,
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e5e9",
    "legend.frameon": False,
    "legend.fontsize": 10,
    "text.parse_math": False,  # names are data: a dollar in one is a dollar
}


def write_figures(folder: Path, collected: Collected) -> list[Path]:
    """Write `front.png`, `hypervolume.png`, `effects.png` and `curves.png`, but for those with nothing to draw.

    Args:
        folder: where to; made where there is none.
        collected: what is known of the study.

    Returns:
        The files that were written.

    Raises:
        StoreError: they cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawings: dict[str, tuple[Callable[[Axes, Collected], bool], float]] = {
        "front": (_front, 4.2),
        "hypervolume": (_hypervolume, 3.6),
        "effects": (_effects, 1.4 + 0.26 * len(_lines(collected.effects))),
        "curves": (_curves, 4.2),
    }
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (draw, height) in drawings.items():
            with rc_context(_STYLE):
                figure = Figure(figsize=(6.8, height), layout="constrained")
                if draw(figure.subplots(), collected):
                    figure.savefig(folder / f"{name}.png", dpi=_DPI)
                    written.append(folder / f"{name}.png")
    except OSError as error:
        got = {"path": str(folder), "error": error.strerror}
        raise StoreError(law("--png", "a folder that can be written", got, "Give another path")) from error
    return written


def _front(axes: Axes, collected: Collected) -> bool:
    x, y = collected.x, collected.y
    known = candidates([row for row in collected.rows if row["epochs"] >= collected.usual], {y: "max", x: "min"})
    if not known:
        return False
    ahead = {row["id"] for row in collected.front}
    others = [row for row in known if row["id"] not in ahead]
    best = [row for row in known if row["id"] in ahead]
    axes.scatter([r[x] for r in others], [r[y] for r in others], s=20, c=_GREY, alpha=0.8, lw=0, label="finished")
    _scale(axes, [row[x] for row in known])
    best.sort(key=lambda row: float(row[x]))
    if len(collected.objectives) == 2:
        where: Literal["post", "pre"] = "post" if collected.objectives.get(x, direction_of(x)) == "min" else "pre"
        axes.step([r[x] for r in best], [r[y] for r in best], where=where, c=_BLUE, lw=1.4)
    axes.scatter([r[x] for r in best], [r[y] for r in best], s=48, c=_BLUE, ec="white", lw=1, zorder=3, label="front")
    axes.set(xlabel=label(x), ylabel=label(y))
    _legend(axes)
    return True


def _hypervolume(axes: Axes, collected: Collected) -> bool:
    course = [row for row in collected.progress if row["hypervolume"] > 0]
    if not course:
        return False
    share = all(math.isfinite(row["share"]) for row in course)
    values = [row["share" if share else "hypervolume"] for row in course]
    axes.step([row["epochs"] for row in course], values, where="post", c=_BLUE, lw=2)
    axes.set(xlabel="epochs trained", ylabel="hypervolume (share of the box)" if share else "hypervolume")
    axes.set_xlim(left=0)
    axes.set_ylim(0, max(values) * 1.08)
    reference = ", ".join(f"{label(name)} {engineering(value)}" for name, value in collected.reference.items())
    axes.set_title(f"reference point: {reference}", loc="left", fontsize=9, color=_INK)
    return True


def _lines(effects: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows to draw, each question headed by a row of its own."""
    known = [row for row in effects if row["difference"] is not None]
    lines: list[dict[str, Any]] = []
    for question in dict.fromkeys(row["question"] for row in known):
        own = [row for row in known if row["question"] == question]
        lines += [{"head": question}, *sorted(own, key=lambda row: -row["difference"])]
    return lines[:_OPTIONS]


def _effects(axes: Axes, collected: Collected) -> bool:
    lines = _lines(collected.effects)
    for place, row in enumerate(lines):
        if "head" in row:
            continue
        told = row["p"] is not None and row["p"] < 0.05
        colour = (_BLUE if row["difference"] > 0 else _VERMILION) if told else _GREY
        bounds = row["low"] is not None
        if bounds:
            axes.plot([row["low"], row["high"]], [-place, -place], c=colour, lw=1.8)
        axes.plot(row["difference"], -place, "o", ms=6, mec=colour, mfc=colour if bounds else "white")
    axes.axvline(0, c=_INK, lw=0.8, zorder=1)
    names = [row["head"].removeprefix("architecture.") if "head" in row else str(row["option"]) for row in lines]
    axes.set_yticks([-place for place in range(len(lines))], [_shortened(name) for name in names])
    for text, row in zip(axes.get_yticklabels(), lines, strict=True):
        text.set_fontweight("bold" if "head" in row else "normal")
    axes.set_ylim(-len(lines) + 0.4, 0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("difference in mIoU, 95 % interval")
    axes.set_title("coloured: different after Holm's correction", loc="left", fontsize=9, color=_INK)
    return bool(lines)


def _curves(axes: Axes, collected: Collected) -> bool:
    ahead = {row["id"] for row in collected.front}
    kinds: dict[str, list[Any]] = {"stopped early or unfinished": [], "finished": [], "front": []}
    for row in collected.rows:
        if points := [p for p in collected.curves.get(row["id"], ()) if p["miou"] is not None]:
            kind = "front" if row["id"] in ahead else "finished" if row["state"] in FINAL else next(iter(kinds))
            kinds[kind].append(points)
    for (kind, curves), (colour, width) in zip(
        kinds.items(), ((_ORANGE, 0.8), (_GREY, 0.8), (_BLUE, 1.8)), strict=True
    ):
        # The front is drawn whole; of the others an even share.
        for place, points in enumerate(curves[:: 1 if kind == "front" else len(curves) // _CURVES + 1]):
            x, y = [p["epoch"] for p in points], [p["miou"] for p in points]
            mark = "o" if len(points) == 1 else ""
            axes.plot(x, y, c=colour, lw=width, marker=mark, ms=4, alpha=0.85, label="" if place else kind)
    for step in collected.rungs:
        axes.axvline(step.epochs, c=_INK, lw=0.8, ls=":")
    axes.set(xlabel="epoch", ylabel="mIoU")
    if any(kinds.values()):
        _legend(axes)
    return any(kinds.values())


def _scale(axes: Axes, values: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = min(values), max(values)
    if low > 0 and high / low > _WIDE:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1e4 else (1,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: re.sub(r"\.0+(?= |$)", "", engineering(value))))


def _legend(axes: Axes) -> None:
    # Above the picture, where it hides no trial.
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, handlelength=1.4)


def _shortened(text: str, most: int = 40) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
