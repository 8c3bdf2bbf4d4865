"""Two studies beside each other: what the front of the second has gained and lost, and what both have trained."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nas.analysis.fronts import candidates, front, hypervolume, maximised
from nas.analysis.progress import default_reference

Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]


class Comparison(NamedTuple):
    """The second study against the first.

    Args:
        gained: on the second front, and neither reached nor beaten by anything on the first.
        lost: on the first front, and neither reached nor beaten by anything on the second.
        volumes: hypervolumes of both fronts.
        reference: the common point that they are measured from.
        shared: what both have trained: one row a network, as `shared_networks` says.
    """

    gained: list[Mapping[str, Any]]
    lost: list[Mapping[str, Any]]
    volumes: tuple[float, float]
    reference: dict[str, float]
    shared: list[Row]

    @property
    def ratio(self) -> float | None:
        """The second hypervolume in terms of the first; None where the first is 0."""
        return self.volumes[1] / self.volumes[0] if self.volumes[0] > 0 else None


def compare(
    first: Rows, second: Rows, objectives: Mapping[str, str], reference: Mapping[str, float] | None = None
) -> Comparison:
    """Lay the final results of two studies beside each other.

    Args:
        first: flat rows with the objectives, `number`, `state`, `identity` and `fingerprint`.
        second: the same, of the other study.
        objectives: name -> `max` or `min`.
        reference: for each objective the worst value that counts; by default 0 for what is maximised, and for a cost
            the greatest final value in either study.

    Raises:
        QueryError: there are no objectives, a direction is neither, or the reference lacks one.
    """
    worst = dict(reference) if reference is not None else default_reference(_joined(first, second), objectives)
    ours, theirs = front(first, objectives), front(second, objectives)
    volumes = tuple(hypervolume(rows, objectives, worst) for rows in (first, second))
    return Comparison(
        gained=_unreached(theirs, ours, objectives),
        lost=_unreached(ours, theirs, objectives),
        volumes=(volumes[0], volumes[1]),
        reference=worst,
        shared=shared_networks(first, second, objectives),
    )


def shared_networks(first: Rows, second: Rows, objectives: Mapping[str, str]) -> list[Row]:
    """The architectures with final results in both studies, those first whose first objective differs most.

    Returns:
        One row each: `fingerprint`, `same` (`result` where some have the same identity: the same training with the
        same seed; else `architecture`), `first` and `second` (trial numbers), `first_n` and `second_n`, the mean of the
        first objective in both as `<name>_first` and `<name>_second`, and `<name>_change`.
    """
    name = next(iter(objectives))
    both = [_by_network(candidates(rows, {name: objectives[name]})) for rows in (first, second)]
    found = [_shared(key, both[0][key], both[1][key], name) for key in both[0] if key in both[1]]
    return sorted(found, key=lambda row: -abs(row[f"{name}_change"]))


def _shared(fingerprint: object, first: Rows, second: Rows, name: str) -> Row:
    means = [statistics.fmean(float(row[name]) for row in rows) for rows in (first, second)]
    same = {row["identity"] for row in first} & {row["identity"] for row in second}
    return {
        "fingerprint": fingerprint,
        "same": "result" if same else "architecture",
        "first": " ".join(str(row["number"]) for row in first),
        "second": " ".join(str(row["number"]) for row in second),
        "first_n": len(first),
        "second_n": len(second),
        f"{name}_first": means[0],
        f"{name}_second": means[1],
        f"{name}_change": means[1] - means[0],
    }


def _by_network(rows: Rows) -> dict[object, list[Mapping[str, Any]]]:
    found: dict[object, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["fingerprint"], []).append(row)
    return found


def _unreached(rows: Rows, others: Rows, objectives: Mapping[str, str]) -> list[Mapping[str, Any]]:
    signs = np.where(maximised(objectives), -1.0, 1.0)
    known = np.array([[other[name] for name in objectives] for other in others], dtype=np.float64)
    known = known.reshape(len(others), len(signs)) * signs
    own = [np.array([row[name] for name in objectives], dtype=np.float64) * signs for row in rows]
    return [row for row, point in zip(rows, own, strict=True) if not (known <= point).all(axis=1).any()]


def _joined(first: Rows, second: Rows) -> list[Mapping[str, Any]]:
    # Identities are dropped: of a network that both have trained, either cost may be the greatest.
    return [{name: value for name, value in row.items() if name != "identity"} for row in (*first, *second)]
