"""Trials as an experiment: networks (seeds averaged), the questions that were varied, and their coding."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nas.analysis.fronts import candidates

Array = npt.NDArray[np.float64]
Choices = Mapping[int, Mapping[str, str | None]]
Row = Mapping[str, Any]

GROUPED: Final = "numbers, grouped by thirds"

_ORDER: Final = ("backbone", "context", "align", "refine", "head", "main", "coarse", "auxiliary", "training", "data")
_MANY: Final = 6  # different numbers; more of them are grouped where each is rare
_RARE: Final = 5  # networks per number
_GROUPS: Final = 3
_AVERAGED: Final = ("miou", "macs", "params", "latency_ms", "peak_memory_bytes", "train_seconds")


@dataclass(frozen=True, slots=True)
class Network:
    """One network and protocol: the mean over its seeds.

    Args:
        choices: path -> value as text.
        figures: name -> mean over the trials that have it.
        trials: that were averaged. [count]
    """

    choices: Mapping[str, str | None]
    figures: Mapping[str, float]
    trials: int


@dataclass(frozen=True, slots=True)
class Question:
    """A path that was answered in more than one way.

    Args:
        name: the path; several, joined by ` = `, where they always had the same answer.
        options: the answers, as text.
        levels: per network the index of its answer, -1 where the question was not asked.
        note: what was done to the answers, or nothing.
    """

    name: str
    options: tuple[str, ...]
    levels: npt.NDArray[np.int64]
    note: str = ""

    def columns(self) -> Array:
        """Sum-to-zero coding, one column less than there are options; zero where the question was not asked.

        So a coefficient is an option's difference to the unweighted mean over the question's options, and what a
        question does where it is not asked stays out of it.
        """
        last = len(self.options) - 1
        coded = np.zeros((len(self.levels), last))
        for index in range(last):
            coded[self.levels == index, index] = 1.0
        coded[self.levels == last] = -1.0
        return coded

    def codes(self) -> list[Array]:
        """The contrasts of all options."""
        return [self.code(index) for index in range(len(self.options))]

    def code(self, option: int) -> Array:
        """The contrast of one option over these columns."""
        last = len(self.options) - 1
        return np.full(last, -1.0) if option == last else np.eye(last)[option]


def networks(rows: Sequence[Row], choices: Choices) -> list[Network]:
    """Average the final trials with an mIoU over their seeds.

    A trial that was replayed is the one that was trained, and counts once.
    """
    found: dict[object, list[Row]] = {}
    for row in candidates(rows, {"miou": "max"}):
        key = (row.get("protocol_fingerprint"), frozenset(choices.get(row["id"], {}).items()))
        found.setdefault(key, []).append(row)
    return [Network(choices.get(same[0]["id"], {}), _means(same), len(same)) for same in found.values()]


def questions(found: Sequence[Network]) -> list[Question]:
    """What varied, slots first."""
    paths = sorted({path for network in found for path in network.choices}, key=_place)
    asked = [question for path in paths if (question := _question(path, found)) is not None]
    return _merged(asked)


def _place(path: str) -> tuple[int, str]:
    root = path.split(".", maxsplit=1)[0]
    return (_ORDER.index(root) if root in _ORDER else len(_ORDER), path)


def _means(rows: Sequence[Row]) -> dict[str, float]:
    means = {}
    for name in _AVERAGED:
        values = [row[name] for row in rows if _is_number(row.get(name))]
        if values:
            means[name] = math.fsum(values) / len(values)
    return means


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _question(path: str, found: Sequence[Network]) -> Question | None:
    answers = [_text(network.choices[path]) if path in network.choices else None for network in found]
    distinct = {answer for answer in answers if answer is not None}
    if len(distinct) < 2:
        return None
    numbers = {answer: _number(answer) for answer in distinct}
    known = {answer: number for answer, number in numbers.items() if number is not None}
    if len(known) == len(distinct):
        count = sum(answer is not None for answer in answers)
        if len(distinct) > _MANY and count < _RARE * len(distinct):
            return _grouped(path, [None if a is None else known[a] for a in answers])
        options = sorted(distinct, key=lambda answer: known[answer])
    else:
        options = sorted(distinct)
    index = {option: i for i, option in enumerate(options)}
    return Question(path, tuple(options), np.array([-1 if a is None else index[a] for a in answers]))


def _text(value: str | None) -> str:
    return "null" if value is None else value


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _grouped(path: str, answers: Sequence[float | None]) -> Question:
    known = sorted(answer for answer in answers if answer is not None)
    edges = [known[len(known) * part // _GROUPS] for part in range(1, _GROUPS)]
    levels = np.array([-1 if a is None else sum(a >= edge for edge in edges) for a in answers])
    present = sorted(set(levels[levels >= 0].tolist()))
    options = [_span(a for a, level in zip(answers, levels, strict=True) if level == p) for p in present]
    return Question(path, tuple(options), np.array([present.index(v) if v >= 0 else -1 for v in levels]), GROUPED)


def _span(answers: Iterable[float | None]) -> str:
    known = [answer for answer in answers if answer is not None]
    return f"{min(known):.3g} to {max(known):.3g}"


def _merged(asked: Sequence[Question]) -> list[Question]:
    """Take paths that always had the very same answer for one question: a width that several places share."""
    joined: dict[object, Question] = {}
    for question in asked:
        key = (question.options, question.levels.tobytes())
        same = joined.get(key)
        name = question.name if same is None else f"{same.name} = {question.name}"
        joined[key] = Question(name, question.options, question.levels, question.note)
    return list(joined.values())
