"""Which questions matter for reaching the top: Optuna's PED-ANOVA, which knows conditional questions.

Watanabe et al., PED-ANOVA, IJCAI 2023 (arXiv:2304.10255), and its form for conditional spaces, Conditional PED-ANOVA,
KDD 2026 (arXiv:2601.20800): how much the answers of the best trials are distributed otherwise than those of all. A
question that is asked of some trials only counts with the trials that it was asked of, and their share among the best.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from nas.analysis.fronts import candidates
from nas.propose.samplers import parameters

BEST: Final = 5
"""Networks that must be among the best: Optuna's advice for stable importances."""

FEWEST: Final = 2 * BEST
"""Networks without which nothing is said."""

_SHARE: Final = 0.1  # of the networks that count as the best
_LISTED: Final = 12  # different numbers that are taken for a list, not for a range
_WIDE: Final = 50  # ratio of bounds from which a range is logarithmic


def importances(rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str]) -> list[dict[str, Any]]:
    """The share of each question in what sets the best networks apart.

    The best are the top tenth, but at least `BEST`. Only final trials count; those of one network and protocol are
    averaged over their seeds. The figures describe; they are no test, and noise has importances too.

    Args:
        rows: flat rows with `answers`.
        objectives: name -> `max` or `min`.

    Returns:
        A row per question with more than one answer: `question`, `trials` (networks it was asked of),
        `front_importance` (share in reaching the front of all objectives) and `miou_importance` (in reaching the
        highest mIoU), both None where the best cannot be told from the rest. The most important comes first. No rows
        with fewer than `FEWEST` networks.
    """
    networks = _networks(rows, objectives)
    domains = _domains([network["answers"] for network in networks])
    if len(networks) < FEWEST or not domains:
        return []
    front = _evaluated(networks, domains, objectives)
    miou = front if list(objectives) == ["miou"] else _evaluated(networks, domains, {"miou": "max"})
    found = [
        {
            "question": path.removeprefix("architecture."),
            "trials": sum(path in network["answers"] for network in networks),
            "front_importance": front.get(path),
            "miou_importance": miou.get(path),
        }
        for path in domains
    ]
    return sorted(found, key=lambda row: (-(row["front_importance"] or 0.0), row["question"]))


def _networks(rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str]) -> list[dict[str, Any]]:
    same: dict[object, list[Mapping[str, Any]]] = {}
    needed = {**objectives, "miou": "max"}
    for row in candidates(rows, needed):
        same.setdefault((row["fingerprint"], row["protocol_fingerprint"]), []).append(row)
    return [
        {"answers": parameters(seeds[0]["answers"])}
        | {name: math.fsum(row[name] for row in seeds) / len(seeds) for name in needed}
        for seeds in same.values()
    ]


def _domains(answered: Sequence[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
    """Each question's domain as far as it was explored, which is where its importance is measured."""
    values: dict[str, list[Any]] = {}
    for answers in answered:
        for path, value in answers.items():
            held = values.setdefault(path, [])
            if value not in held:
                held.append(value)
    return {path: _domain(held) for path, held in sorted(values.items()) if len(held) > 1}


def _domain(values: Sequence[Any]) -> BaseDistribution:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not numbers or len(values) <= _LISTED:
        return CategoricalDistribution(values)
    low, high = min(values), max(values)
    wide = low > 0 and high / low >= _WIDE
    if all(isinstance(v, int) for v in values):
        return IntDistribution(low, high, log=wide)
    return FloatDistribution(float(low), float(high), log=wide)


def _evaluated(
    networks: Sequence[Mapping[str, Any]], domains: Mapping[str, BaseDistribution], objectives: Mapping[str, str]
) -> dict[str, float]:
    """Shares that sum to one; nothing where the best are no different."""
    study = optuna.create_study(
        directions=["maximize" if goal == "max" else "minimize" for goal in objectives.values()]
    )
    study.add_trials([_frozen(network, domains, objectives) for network in networks])
    best = max(math.ceil(_SHARE * len(networks)), BEST)
    with warnings.catch_warnings():
        # Of regimes with a single trial, and of an argument that is experimental.
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=best / len(networks))
        found = get_param_importances(study, evaluator=evaluator, params=list(domains), normalize=False)
    whole = math.fsum(found.values())
    return {path: value / whole for path, value in found.items()} if whole > 0 else {}


def _frozen(
    network: Mapping[str, Any], domains: Mapping[str, BaseDistribution], objectives: Mapping[str, str]
) -> FrozenTrial:
    params = {path: value for path, value in network["answers"].items() if path in domains}
    return optuna.trial.create_trial(
        values=[network[name] for name in objectives],
        params=params,
        distributions={path: domains[path] for path in params},
    )
