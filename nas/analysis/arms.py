"""Rows of trials, grouped into what was trained several times, and compared with a baseline."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nas.analysis.fronts import FINAL
from nas.analysis.statistics import Paired, holm, paired, spread

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Summary:
    """One arm in figures.

    Args:
        name: of the arm.
        rows: its trials.
        scores: seed -> figure of the final results.
        mean: of the scores.
        deviation: their sample standard deviation; None below two.
        difference: to the baseline, over the seeds that both have.
        p_holm: of that difference, corrected for the number of comparisons.
    """

    name: str
    rows: tuple[Row, ...]
    scores: Mapping[int, float]
    mean: float | None
    deviation: float | None
    difference: Paired | None = None
    p_holm: float | None = None

    @property
    def n(self) -> int:
        """Final results. [count]"""
        return len(self.scores)

    def others(self) -> Counter[str]:
        """How many trials ended in another state than with a final result."""
        return Counter(row["state"] for row in self.rows if row["state"] not in FINAL)


def by_arm(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group by the arm that a study names."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["arm"] is not None and not row["outside"]:
            groups.setdefault(row["arm"], []).append(row)
    return groups


def by_network(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group by network and protocol those that were trained with more than one seed, named after their first trial."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["state"] in FINAL and not row["outside"]:
            groups.setdefault((row["fingerprint"], row["protocol_fingerprint"]), []).append(row)
    several = (group for group in groups.values() if len({row["seed"] for row in group}) > 1)
    return {f"trial {group[0]['number']}": group for group in several}


def compared(groups: Mapping[str, Sequence[Row]], *, baseline: str | None, figure: str = "miou") -> list[Summary]:
    """Sum every group up, and compare each with the baseline.

    Args:
        groups: name -> trials.
        baseline: the name of the group that the others are compared with; None compares none.
        figure: what is averaged.
    """
    found = [_summary(name, rows, figure) for name, rows in groups.items()]
    against = next((each for each in found if each.name == baseline), None)
    if against is None:
        return found
    found = [
        each if each is against else replace(each, difference=paired(each.scores, against.scores)) for each in found
    ]
    tested = [each.name for each in found if each.difference and each.difference.p is not None]
    values = [each.difference.p for each in found if each.difference and each.difference.p is not None]
    corrected = dict(zip(tested, holm(values), strict=True))
    return [replace(each, p_holm=corrected.get(each.name)) for each in found]


def best(summaries: Sequence[Summary]) -> set[str]:
    """Names of the arms with the greatest mean among those with the most results; a mean of fewer is more by chance."""
    most = max((each.n for each in summaries), default=0)
    means = {each.name: each.mean for each in summaries if each.n == most and each.mean is not None}
    return {name for name, mean in means.items() if mean == max(means.values())}


def _summary(name: str, rows: Sequence[Row], figure: str) -> Summary:
    scores: dict[int, float] = {}
    for row in rows:
        value = row[figure]
        if row["state"] in FINAL and value is not None and math.isfinite(value):
            # A training that was repeated as it was counts once.
            scores.setdefault(row["seed"], value)
    return Summary(name, tuple(rows), scores, *spread(list(scores.values())))
