"""What is compared: read from the command line or from a study, and called by the names that people use."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from blocks.errors import NasError, QueryError, law, nearest
from nas.analysis.fronts import direction_of
from nas.store.columns import FLAT, canonical, is_numeric

ClassIndex = Callable[[str], int]
"""The index of a class by its name."""


class Axes(NamedTuple):
    """What is compared, and which two of it are drawn.

    Args:
        objectives: stored name -> `max` or `min`.
        x: the stored name along the horizontal axis.
        y: the stored name along the vertical axis.
        names: stored name -> what people call it, where that differs: `iou.3` -> `iou.road`.
    """

    objectives: dict[str, str]
    x: str
    y: str
    names: dict[str, str]

    def called(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Rows with the names that people use."""
        return [{self.names.get(name, name): value for name, value in row.items()} for row in rows]

    @property
    def shown(self) -> dict[str, str]:
        """The objectives by the names that people use."""
        return {self.names.get(name, name): direction for name, direction in self.objectives.items()}

    @property
    def drawn(self) -> tuple[str, str]:
        """The horizontal and the vertical axis by those names."""
        return self.names.get(self.x, self.x), self.names.get(self.y, self.y)


def axes_of(
    own: Mapping[str, str], asked: Sequence[str], x: str | None, y: str | None, class_index: ClassIndex
) -> Axes:
    """Take the objectives that are asked for, else the axes, else those of the study.

    Args:
        own: the study's objectives.
        asked: `NAME` or `NAME:max`, two or three of them.
        x: the horizontal axis, or None.
        y: the vertical axis, or None.
        class_index: where the classes of `iou.NAME` are looked up.

    Raises:
        QueryError: a name or a direction makes no sense, or there are not two or three.
    """
    names: dict[str, str] = {}
    given = {canonical(name): direction for name, direction in own.items() if canonical(name) in FLAT}

    def stored(subject: str, name: str) -> str:
        found = _stored(subject, name, class_index)
        if found != canonical(name):
            names[found] = name
        return found

    goals: dict[str, str] = {}
    for text in asked:
        name, _, direction = text.partition(":")
        key = stored("--objective", name)
        goals[key] = _direction(text, direction) or given.get(key, direction_of(key))
    if asked and len(goals) not in (2, 3):
        remedy = "Name them with --objective, each once"
        raise QueryError(law("A front", "two or three different objectives", {"objectives": list(goals)}, remedy))
    known = goals or given
    upwards = stored("--y", y) if y else next((n for n, d in known.items() if d == "max"), _other(known, "miou"))
    across = stored("--x", x) if x else next((n for n in known if n != upwards and known[n] == "min"), None)
    across = across or _other({n: d for n, d in goals.items() if n != upwards}, "macs")
    if across == upwards:
        raise QueryError(law("A front", "two different axes", {"x": across, "y": upwards}, "Change --x or --y"))
    if goals:
        for flag, name in (("--x", across), ("--y", upwards)):
            if name not in goals:
                raise QueryError(law(flag, "one of the objectives", {flag.strip("-"): name}, nearest(name, goals)))
        return Axes(goals, across, upwards, names)
    both = {name: given.get(name, direction_of(name)) for name in (upwards, across)}
    return Axes(both if x or y else both | given, across, upwards, names)


def _other(goals: Mapping[str, str], usual: str) -> str:
    return next(iter(goals), usual)


def _direction(text: str, direction: str) -> str | None:
    if ":" in text and direction not in ("max", "min"):
        raise QueryError(law(f"--objective {text}", "max or min", {"direction": direction}, "Write miou:max"))
    return direction or None


def _stored(subject: str, name: str, class_index: ClassIndex) -> str:
    if name.startswith("iou."):
        of = name.removeprefix("iou.")
        return f"iou.{int(of) if of.isdecimal() and of.isascii() and len(of) < 5 else class_index(of)}"
    known = [column for column in FLAT if is_numeric(column)]
    if canonical(name) not in known:
        got = {subject.strip("-"): name}
        raise QueryError(law(subject, "a column of numbers", got, nearest(name, [*known, "iou.CLASS"])))
    return canonical(name)


def class_index_of(study: str, space: str) -> ClassIndex:
    """Look classes up in the data section of a study's space.

    Args:
        study: its name, for messages.
        space: the YAML as it was read.
    """

    def find(name: str) -> int:
        # These bring torch, which only a class's name is worth waiting for.
        from nas.space import Space
        from nas.study.work import info_of

        try:
            known = [each.casefold() for each in info_of(Space.loads(space)).names]
        except NasError as error:
            got = {"class": name, "study": study}
            remedy = "Give its index: iou.3. The study's space cannot be read: " + str(error).splitlines()[0]
            raise QueryError(law("The name of a class", "a data set that is known", got, remedy)) from error
        wanted = name.casefold().replace("_", " ")
        if wanted not in known and name.casefold() not in known:
            raise QueryError(law("An objective", "a class of the data", {"class": name}, nearest(name, known)))
        return known.index(wanted if wanted in known else name.casefold())

    return find


def limits_of(text: str, flag: str = "--under") -> dict[str, float]:
    """Read `macs=5e9` or `macs=5e9,params=1e7`.

    Args:
        text: that was written.
        flag: where, for messages.

    Raises:
        QueryError: it is nothing like that.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if math.isnan(number):
            remedy = "Write it as macs=5e9, several joined by commas"
            raise QueryError(law(flag, "a name and a number", {"text": part}, remedy))
        found[_stored(flag, name.strip(), lambda of: -1)] = number
    return found
