"""What the sampler is told: the truth, in the form that Optuna understands.

Optuna's multi-objective samplers read completed trials alone, and rank those that violate a constraint by the violation
and nothing else. So a network over budget, stopped early or skipped is told complete with what is known of it and how
far it is from admissible: it can never pass for a result. What has no usable value is told failed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

OVER_BUDGET = "over_budget"  # relative excess over the limit that is exceeded most
UNFINISHED = "unfinished"  # share of the rungs that it did not reach


@dataclass(frozen=True, slots=True)
class Feedback:
    """The state, values and constraints of one Optuna trial."""

    values: tuple[float, ...] | None
    constraints: Mapping[str, float] = field(default_factory=dict)

    @property
    def state(self) -> TrialState:
        return TrialState.COMPLETE if self.values is not None else TrialState.FAIL

    def tell(self, study: optuna.Study, trial: optuna.Trial) -> FrozenTrial:
        """Tell a trial that was asked."""
        for name, value in self.constraints.items():
            trial.set_constraint(name, value)
        return study.tell(trial, self.values, state=self.state)

    def frozen(
        self,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        attributes: Mapping[str, Any],
        system: Mapping[str, Any],
    ) -> FrozenTrial:
        """The same as a trial that some other study has seen, with our notes on it and the sampler's own."""
        trial = optuna.trial.create_trial(
            state=self.state,
            values=self.values,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs=dict(attributes),
            system_attrs=dict(system),
            constraints=dict(self.constraints),
        )
        trial.datetime_complete = trial.datetime_complete or datetime.now()
        return trial


def attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the dashboard shows beside the values: which trial this is, how it ended, and why it failed."""
    reason = {"reason": row["error"]} if row.get("error") else {}
    return {"trial": row["number"], "state": row["state"], **reason}


def feedback(row: Mapping[str, Any], objectives: Mapping[str, str], *, assumed: Mapping[str, float]) -> Feedback:
    """Word a recorded trial for the sampler.

    Args:
        row: a trial as the store lists it: `state`, objectives by name, `exceeded_value` and `exceeded_limit` of
            the limit that it exceeds, `missing` share of rungs.
        objectives: name -> `max` or `min`, in the order of the study's directions.
        assumed: stands for objectives that nobody could know (the mIoU of a network over budget); samplers rank
            such a trial by its violation, so this only keeps models of the objective from being misled.
    """
    state = row["state"]
    if state not in {"finished", "replayed", "stopped", "paused", "rejected", "skipped"}:
        return Feedback(None)
    recorded = [row.get(name) for name in objectives]
    if state in {"rejected", "skipped"}:
        recorded = [assumed.get(name, 0.0) if v is None else v for name, v in zip(objectives, recorded, strict=True)]
    if any(v is None or not math.isfinite(v) for v in recorded):
        return Feedback(None)
    excess = row["exceeded_value"] / row["exceeded_limit"] - 1.0 if state == "rejected" else 0.0
    # What was skipped has reached no rung at all.
    missing = 1.0 if state == "skipped" else float(row.get("missing") or 0.0)
    values = tuple(float(v) for v in recorded if v is not None)
    return Feedback(values, {OVER_BUDGET: excess, UNFINISHED: missing})
