"""How one trial stands among the others: its layer behind the front, and what it lacks to the front at its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.analysis.fronts import candidates, layers

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a trial stands.

    Args:
        layer: 1 on the front, 2 on what is the front without that, and so on. [count]
        layers: that there are. [count]
        trials: that are compared. [count]
        goal: the objective that is missed below; empty where none is maximised.
        better: the number of the trial with the most of it at no more of any cost; None where there is none with more.
        missing: how much more that one has.
    """

    layer: int
    layers: int
    trials: int
    goal: str = ""
    better: int | None = None
    missing: float = 0.0


def standing(rows: Sequence[Row], objectives: Mapping[str, str], number: int) -> Standing | None:
    """Rank a trial among the final results, or return None where it is no final result.

    A network that was replayed stands where the trial does that was trained.

    Args:
        rows: flat dicts of the whole study.
        objectives: name -> `max` or `min`.
        number: of the trial.

    Raises:
        QueryError: there are no objectives, or a direction is neither.
    """
    ranked = layers(rows, objectives)
    # Of several rows with one identity the first stands for all.
    mine = next((row for row in rows if row.get("number") == number), None)
    if mine is None or not candidates([mine], objectives):
        return None
    own = mine.get("identity")
    for depth, layer in enumerate(ranked, start=1):
        if any(row["number"] == number or (own is not None and row.get("identity") == own) for row in layer):
            found = Standing(depth, len(ranked), sum(len(each) for each in ranked))
            return _lacking(found, ranked[0], objectives, mine)
    return None


def _lacking(found: Standing, front: Sequence[Row], objectives: Mapping[str, str], mine: Row) -> Standing:
    goal = next((name for name, direction in objectives.items() if direction == "max"), "")
    costs = [name for name, direction in objectives.items() if direction == "min"]
    within = [row for row in front if all(_number(row[name]) <= _number(mine[name]) for name in costs)]
    best = max(within, key=lambda row: _number(row[goal]), default=None) if goal else None
    if best is None or (missing := _number(best[goal]) - _number(mine[goal])) <= 0:
        return Standing(found.layer, found.layers, found.trials, goal)
    return Standing(found.layer, found.layers, found.trials, goal, int(_number(best["number"])), missing)


def _number(value: object) -> float:
    assert isinstance(value, int | float)  # `layers` has seen to it
    return float(value)
