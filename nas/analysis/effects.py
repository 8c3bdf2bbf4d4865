"""What each option is worth: its difference in mIoU while the other choices are accounted for, and where pairs matter.

The model is an additive regression on the means over seeds, by ordinary least squares: an intercept and, for each
question, sum-to-zero effects of its options. A difference is therefore against the unweighted mean over the options of
the same question. A question that is asked only under some option of another (`context.ppm.bins`) has nested effects:
nothing where it is not asked. Intervals are Student's at 95 %, each on its own, and take the residuals for independent
and of one variance; what pairs of options do beyond their sum is in the residuals. p-values are corrected for their
number (Holm).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, Self

import numpy as np

from nas.analysis.design import Array, Choices, Network, Question, Row, networks, questions
from nas.analysis.fronts import front
from nas.analysis.regression import FREEDOM, Estimate, Fit, Mask, fit
from nas.analysis.statistics import holm

FEWEST: Final = 3
"""Networks that an option needs for an interval."""

OBJECTIVES: Final[Mapping[str, str]] = {"miou": "max", "macs": "min"}

_UNKNOWN: Final = "cannot be told apart from other choices"
_SAME_COST: Final = 0.01  # of the mean cost: a smaller difference is no price


def effects(
    rows: Sequence[Row], choices: Choices, *, objectives: Mapping[str, str] = OBJECTIVES
) -> list[dict[str, Any]]:
    """The worth of every option of every question that varied.

    Only final trials count; those of one network and protocol are averaged over their seeds first.

    Args:
        rows: flat rows of the store with `id`, `state`, `miou` and `macs`; `identity`, `outside` and
            `protocol_fingerprint` are heeded where they are there.
        choices: trial id -> option path -> value as text.
        objectives: name -> `max` or `min`, for the front.

    Returns:
        A row per option: `question`, `option`, `trials`; `front_share`, the share of the front's members that have it;
        `difference` in mIoU to the mean over the question's options, `low` and `high`, its 95 % interval, and `p` of no
        difference (Holm over all options), None where the data cannot tell; `gflops`, the difference in cost by the
        same model [1e9 MACs]; `miou_per_gflop`, `difference / gflops`: mIoU gained per 1e9 MACs more (or lost per
        1e9 fewer) when this option is taken instead of the mean one; negative where the dearer is the worse; None
        where the interval holds 0, or the cost differs by less than 1 % of the mean. `note` says what limits the row.
    """
    found = networks(rows, choices)
    asked = questions(found)
    if not asked:
        return []
    model = _Model.of(found, asked, objectives)
    listed: list[dict[str, Any]] = []
    tests: dict[int, tuple[object, float]] = {}
    for number, question in enumerate(asked):
        for index in range(len(question.options)):
            row, p = model.row(number, index)
            if p is not None:
                # Of two options, one is the other's mirror: a single test.
                tests[len(listed)] = (number if len(question.options) == 2 else (number, index), p)
            listed.append(row)
    return _corrected(listed, tests)


def interactions(rows: Sequence[Row], choices: Choices) -> list[dict[str, Any]]:
    """Pairs of options whose joint effect may depart from the sum of their own.

    Each pair of questions is added to the additive model alone, so that few trials suffice; the cells of both are
    then judged against the sum. Cells of fewer than three networks, or that the data do not determine, are left out of
    the tests and say so.

    Args:
        rows: as for `effects`.
        choices: as for `effects`.

    Returns:
        A row per cell: `question`, `option`, `other_question`, `other_option`, `trials`, `departure` in mIoU from the
        sum of both, `low` and `high` (95 %, each on its own), `p` (Holm over all cells of all pairs), `note`; the
        smallest p first.
    """
    found = networks(rows, choices)
    asked = questions(found)
    if not asked:
        return []
    design = _design(asked)
    response = np.array([network.figures["miou"] for network in found])
    response = response - response.mean()
    alone = fit(design, response)
    apart = [
        not any(alone.hidden(_contrast(asked, {i: code})).any() for code in q.codes()) for i, q in enumerate(asked)
    ]
    listed: list[dict[str, Any]] = []
    tests: dict[int, tuple[object, float]] = {}
    for pair in combinations(range(len(asked)), 2):
        for cell, key, p in _cells(asked, pair, design=design, response=response, found=found):
            if not all(apart[i] for i in pair):
                # Whatever it does with the other, its twin does as well.
                cell |= {"low": None, "high": None, "note": _UNKNOWN}
            elif p is not None:
                tests[len(listed)] = (key, p)
            listed.append(cell)
    return sorted(
        _corrected(listed, tests), key=lambda row: (row["p"] is None, row["p"] or 0.0, -abs(row["departure"]))
    )


def _design(asked: Sequence[Question]) -> Array:
    blocks = [question.columns() for question in asked]
    return np.hstack([np.ones((len(blocks[0]), 1)), *blocks])


def _contrast(asked: Sequence[Question], codes: Mapping[int, Array], extra: Array | None = None) -> Array:
    parts = [codes.get(i, np.zeros(len(q.options) - 1)) for i, q in enumerate(asked)]
    return np.concatenate([np.zeros(1), *parts, *([] if extra is None else [extra])])


def _front_shares(
    found: Sequence[Network], asked: Sequence[Question], objectives: Mapping[str, str]
) -> list[list[float | None]]:
    rows = [{**network.figures, "place": place} for place, network in enumerate(found)]
    members = [int(row["place"]) for row in front(rows, objectives, states=None)]

    def share(question: Question, index: int) -> float | None:
        return float(np.mean(question.levels[members] == index)) if members else None

    return [[share(question, index) for index in range(len(question.options))] for question in asked]


@dataclass(frozen=True, slots=True)
class _Model:
    """The additive model of mIoU, the same of cost where all costs are known, and the front."""

    found: Sequence[Network]
    asked: Sequence[Question]
    scores: Fit
    costs: Fit | None
    mean_cost: float
    shares: Sequence[Sequence[float | None]]
    equal: bool

    @classmethod
    def of(cls, found: Sequence[Network], asked: Sequence[Question], objectives: Mapping[str, str]) -> Self:
        design = _design(asked)
        miou = np.array([network.figures["miou"] for network in found])
        macs = np.array([network.figures.get("macs", np.nan) for network in found])
        known = bool(np.isfinite(macs).all())
        return cls(
            found,
            asked,
            fit(design, miou - miou.mean()),
            fit(design, macs - macs.mean()) if known else None,
            float(macs.mean()),
            _front_shares(found, asked, objectives),
            equal=bool(np.ptp(miou) == 0),
        )

    def row(self, number: int, index: int) -> tuple[dict[str, Any], float | None]:
        """One option, and its p-value before correction."""
        question = self.asked[number]
        contrast = _contrast(self.asked, {number: question.code(index)})
        here = question.levels == index
        # Of two options, what is said of one rests on the other as much.
        counts = np.bincount(question.levels[question.levels >= 0])
        count = int(counts.min() if len(counts) == 2 else counts[index])
        estimate = _judged(self.scores.estimate(contrast), count)
        gflops = self.gflops(contrast)
        # What may be no difference at all has no price.
        told = estimate.low is not None and estimate.high is not None and (estimate.low > 0 or estimate.high < 0)
        priced = told and gflops is not None and abs(gflops) * 1e9 > _SAME_COST * self.mean_cost
        row = {
            "question": question.name,
            "option": question.options[index],
            "trials": _trials(self.found, here),
            "front_share": self.shares[number][index],
            "difference": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "p": None,
            "gflops": gflops,
            "miou_per_gflop": estimate.value / gflops if priced and gflops else None,
            "note": self.note(number, contrast, int(counts[index]), count),
        }
        return row, estimate.p

    def gflops(self, contrast: Array) -> float | None:
        """The difference in cost [1e9 MACs], where costs are known and the networks suffice."""
        if self.costs is None or self.costs.shrunk:
            return None
        value = self.costs.estimate(contrast).value
        # What rounding leaves of options that cost the same is no cost.
        return value / 1e9 if abs(value) > 1e-9 * self.mean_cost else 0.0

    def note(self, number: int, contrast: Array, count: int, fewest: int) -> str:
        """What limits the row."""
        notes = [self.asked[number].note] if self.asked[number].note else []
        hidden = _others(self.scores.hidden(contrast), self.asked, number)
        if self.equal:
            notes.append("every network has the same mIoU")
        elif self.scores.shrunk:
            counts = f"{len(self.found)} for {len(contrast) - 1} effects"
            notes.append(f"too few networks to judge ({counts}): shrunk towards none by ridge")
        elif hidden:
            notes.append(
                f"cannot be told apart from {', '.join(hidden)}: they change together, and share the difference"
            )
        if count < FEWEST:
            notes.append(f"only {count} network{'s' if count > 1 else ''}")
        elif fewest < FEWEST:
            notes.append(f"only {fewest} network{'s' if fewest > 1 else ''} to compare with")
        return "; ".join(notes)


def _others(hidden: Mask, asked: Sequence[Question], number: int) -> list[str]:
    """The other questions that hidden columns belong to."""
    owners = np.repeat(np.arange(len(asked)), [len(q.options) - 1 for q in asked])
    found = set(owners[hidden[1:]].tolist())
    return [question.name for i, question in enumerate(asked) if i in found and i != number]


def _trials(found: Sequence[Network], here: Mask) -> int:
    return sum(network.trials for network, inside in zip(found, here, strict=True) if inside)


def _judged(estimate: Estimate, count: int) -> Estimate:
    """Take the interval away from what has been seen too rarely."""
    return estimate if count >= FEWEST else Estimate(estimate.value, estimable=estimate.estimable)


def _corrected(listed: list[dict[str, Any]], tests: Mapping[int, tuple[object, float]]) -> list[dict[str, Any]]:
    named = dict(tests.values())
    adjusted = dict(zip(named, holm(list(named.values())), strict=True))
    for place, (key, _) in tests.items():
        listed[place]["p"] = adjusted[key]
    return listed


def _cells(
    asked: Sequence[Question], pair: tuple[int, int], *, design: Array, response: Array, found: Sequence[Network]
) -> list[tuple[dict[str, Any], object, float | None]]:
    """Judge every cell of one pair of questions that were asked together."""
    a, b = asked[pair[0]], asked[pair[1]]
    together = (a.levels >= 0) & (b.levels >= 0)
    if len(set(a.levels[together].tolist())) < 2 or len(set(b.levels[together].tolist())) < 2:
        return []
    product = np.einsum("ni,nj->nij", a.columns(), b.columns()).reshape(len(response), -1)
    fitted = fit(np.hstack([design, product]), response)
    counts = np.zeros((len(a.options), len(b.options)), dtype=int)
    np.add.at(counts, (a.levels[together], b.levels[together]), 1)
    listed: list[tuple[dict[str, Any], object, float | None]] = []
    for i, j in np.ndindex(counts.shape):
        contrast = _contrast(asked, {}, np.outer(a.code(i), b.code(j)).ravel())
        # Of two options, what is said of one rests on the other as much: the cells mirror one another.
        mirrored = counts[slice(None) if len(a.options) == 2 else i, slice(None) if len(b.options) == 2 else j]
        estimate = _judged(fitted.estimate(contrast), int(mirrored.min()))
        cell = {
            "question": a.name,
            "option": a.options[i],
            "other_question": b.name,
            "other_option": b.options[j],
            "trials": _trials(found, (a.levels == i) & (b.levels == j)),
            "departure": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "p": None,
            "note": _cell_note(fitted, estimate, int(mirrored.min())),
        }
        same = (0 if len(a.options) == 2 else i, 0 if len(b.options) == 2 else j)
        listed.append((cell, (pair, same), estimate.p))
    return listed


def _cell_note(fitted: Fit, estimate: Estimate, count: int) -> str:
    if fitted.shrunk:
        return f"too few networks to judge: fewer than {FREEDOM} more than effects"
    if not estimate.estimable:
        return _UNKNOWN
    if count < FEWEST:
        return f"rests on {count} network{'' if count == 1 else 's'} that had both"
    return ""
