"""How much of what there is to find has been found: hypervolume as a share of that of everything known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import moocore
import numpy as np
import numpy.typing as npt

from blocks.errors import QueryError, law
from nas.analysis.fronts import candidates


class Yardstick:
    """Measures results against all results that are known.

    Scores count from 0 upwards. Costs are compared by their logarithms (twice the MACs is one step further, wherever a
    network stands), down from the greatest that is known. So the share is 1 when the whole front is found, and depends
    on no unit.

    Args:
        rows: all that is known, with a number for each objective.
        objectives: name -> `max` or `min`.

    Raises:
        QueryError: there are no such rows.
    """

    def __init__(self, rows: Sequence[Mapping[str, object]], objectives: Mapping[str, str]) -> None:
        self._objectives = dict(objectives)
        known = candidates(rows, objectives, states=None)
        if not known:
            needs = f"results with {', '.join(objectives)}"
            raise QueryError(law("A yardstick", needs, {"rows": len(rows)}, "Finish some trials first"))
        points = self._raw(known)
        scores = np.array([goal == "max" for goal in self._objectives.values()])
        self._reference = np.where(scores, 0.0, points.max(axis=0))
        self._whole = self._volume(points)

    def share(self, rows: Sequence[Mapping[str, object]]) -> float:
        """The hypervolume of these rows, in that of everything known."""
        if not rows:
            return 0.0
        # One result, or results that are all equal, leave no volume to share: then any of them is the whole.
        return self._volume(self._raw(rows)) / self._whole if self._whole > 0 else 1.0

    def path(self, rows: Sequence[Mapping[str, object]]) -> list[float]:
        """The share after each of these rows, in their order."""
        return [self.share(rows[: number + 1]) for number in range(len(rows))]

    def _raw(self, rows: Sequence[Mapping[str, object]]) -> npt.NDArray[np.float64]:
        return np.array([[self._value(row, name) for name in self._objectives] for row in rows], dtype=np.float64)

    def _value(self, row: Mapping[str, object], name: str) -> float:
        value = float(row[name])  # type: ignore[arg-type]  # `candidates` has seen to it
        if self._objectives[name] == "max":
            return -value
        return math.log(max(value, 1e-300))

    def _volume(self, points: npt.NDArray[np.float64]) -> float:
        return float(moocore.hypervolume(points, ref=self._reference))


def reached(path: Sequence[float], spent: Sequence[float], share: float) -> float | None:
    """What had been spent when a path first reached a share, or None where it never did.

    Args:
        path: shares, as `Yardstick.path` gives them.
        spent: epochs or seconds at each of them.
        share: to be reached.
    """
    return next((cost for found, cost in zip(path, spent, strict=True) if found >= share), None)


def at(path: Sequence[float], spent: Sequence[float], cost: float) -> float:
    """The share that had been reached when so much had been spent."""
    return max((found for found, own in zip(path, spent, strict=True) if own <= cost), default=0.0)
