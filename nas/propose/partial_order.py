"""Partial order pruning: leave out what the results so far show to be hopeless.

The assumption (Li et al., Partial Order Pruning, CVPR 2019, arXiv:1903.03777): a network that is at most as wide and as
deep as another in every ordered choice, and equal to it elsewhere, is neither slower nor more accurate. So a wider one
that was trained bounds the accuracy of a candidate from above, and a narrower one bounds its latency from below; where
some result is at least as good as these bounds in every objective, the candidate cannot improve the front.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from blocks.options import Value
from nas.analysis.fronts import front
from nas.space import Choices, Question
from nas.space.questions import key

Place = tuple[object, tuple[float, ...]]  # all that must be equal, and the steps on the ordered questions


@dataclass(frozen=True, slots=True)
class Hopeless:
    """Why a candidate is not worth training.

    Args:
        wider: the result that bounds it.
        better: the result that is at least as good as the bounds; the same one where it costs no more.
        bounds: the best that the candidate could reach.
    """

    wider: int
    better: int
    bounds: Mapping[str, float]

    def __str__(self) -> str:
        best = ", ".join(f"{name} {value:.4g}" for name, value in self.bounds.items())
        return f"hopeless: bounded by trial {self.wider} to {best}, which trial {self.better} reaches already"


class PartialOrder:
    """What is known, arranged so that bounds are quickly found.

    Args:
        questions: of the space; those that are `ordered` make the partial order.
        objectives: name -> `max` or `min`.
    """

    def __init__(self, questions: Iterable[Question], objectives: Mapping[str, str]) -> None:
        self._ordered = {question.path: question for question in questions if question.ordered}
        self._objectives = dict(objectives)
        self._families: dict[object, list[tuple[tuple[float, ...], int, Mapping[str, float]]]] = {}
        self._front: list[dict[str, Any]] = []

    def add(self, number: int, answers: Mapping[str, Value], values: Mapping[str, float]) -> None:
        """Take in a final result."""
        family, steps = self.place(answers)
        own = {name: values[name] for name in self._objectives}
        self._families.setdefault(family, []).append((steps, number, own))
        self._front = front([*self._front, {"number": number, **own}], self._objectives, states=None)

    def hopeless(self, answers: Mapping[str, Value], known: Mapping[str, float]) -> Hopeless | None:
        """Say why a candidate cannot improve the front, if the results show it.

        Args:
            answers: to the space's questions.
            known: its costs, by the names of the objectives.
        """
        family, steps = self.place(answers)
        bounds: dict[str, float] = {}
        wider: int | None = None
        for name, goal in self._objectives.items():
            if name in known:
                bounds[name] = known[name]
                continue
            relatives = [
                (values[name], number)
                for others, number, values in self._families.get(family, ())
                if (_at_most(steps, others) if goal == "max" else _at_most(others, steps))
            ]
            if not relatives:
                return None
            bounds[name], witness = min(relatives) if goal == "max" else max(relatives)
            wider = witness if goal == "max" or wider is None else wider
        if wider is None:
            return None
        better = next((row["number"] for row in self._front if self._reaches(row, bounds)), None)
        return None if better is None else Hopeless(wider, better, bounds)

    def place(self, answers: Mapping[str, Value]) -> Place:
        """Split answers into what must be equal and the steps that are compared."""
        rest = frozenset((path, key(value)) for path, value in answers.items() if path not in self._ordered)
        open_here = sorted(self._ordered.keys() & answers.keys())
        return (rest, tuple(open_here)), tuple(_step(self._ordered[path], answers[path]) for path in open_here)

    def _reaches(self, row: Mapping[str, Any], bounds: Mapping[str, float]) -> bool:
        return all(
            row[name] >= bounds[name] if goal == "max" else row[name] <= bounds[name]
            for name, goal in self._objectives.items()
        )


def _at_most(left: tuple[float, ...], right: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(left, right, strict=True))


def _step(question: Question, value: Value) -> float:
    """Where an answer stands on its question's scale: listed values in the order of the list, numbers by size."""
    if isinstance(question.domain, Choices):
        return [key(listed) for listed in question.domain].index(key(value))
    assert isinstance(value, int | float)
    return value
