"""The sampler is told the truth: in Optuna's terms, and the same live as after a restart."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from nas.propose.feedback import feedback

GOALS = {"miou": "max", "macs": "min"}
ROW = {"miou": 0.4, "macs": 2e9, "missing": None, "exceeded_value": None, "exceeded_limit": None}


def told(**changes):
    return feedback(ROW | changes, GOALS, assumed={"miou": 0.3})


def test_a_finished_trial_is_complete_with_its_values():
    assert told(state="finished").values == (0.4, 2e9)
    assert told(state="finished").state is TrialState.COMPLETE
    assert all(violation <= 0 for violation in told(state="finished").constraints.values())


def test_a_stopped_trial_is_never_taken_for_a_result():
    found = told(state="stopped", missing=0.5)
    assert found.constraints["unfinished"] == 0.5


def test_over_budget_is_infeasible_by_the_relative_excess():
    found = told(state="rejected", miou=None, exceeded_value=3e9, exceeded_limit=2e9)
    assert found.constraints["over_budget"] == pytest.approx(0.5)
    assert found.values == (0.3, 2e9)


def test_skipped_is_infeasible_by_all_of_the_rungs():
    found = told(state="skipped", miou=None)
    assert found.values == (0.3, 2e9)
    assert found.constraints == {"over_budget": 0.0, "unfinished": 1.0}


@pytest.mark.parametrize(
    "row", [{"state": "failed"}, {"state": "interrupted"}, {"state": "finished", "miou": float("nan")}]
)
def test_what_has_no_usable_value_is_failed(row):
    assert told(**row).state is TrialState.FAIL
    assert told(**row).values is None


def test_optuna_keeps_stopped_and_rejected_trials_off_its_front():
    study = optuna.create_study(directions=["maximize", "minimize"])
    rows = [
        {"state": "finished"},
        {"state": "stopped", "miou": 0.9, "missing": 0.5},
        {"state": "rejected", "miou": None, "macs": 1.0, "exceeded_value": 3e9, "exceeded_limit": 2e9},
    ]
    for row in rows:
        told(**row).tell(study, study.ask())
    assert [trial.number for trial in study.best_trials] == [0]


def test_live_and_rebuilt_trials_are_the_same():
    live, rebuilt = (optuna.create_study(directions=["maximize", "minimize"]) for _ in range(2))
    choice = optuna.distributions.CategoricalDistribution(["ppm", "psa"])
    for row in ({"state": "finished"}, {"state": "stopped", "missing": 0.5}, {"state": "failed"}):
        trial = live.ask()
        value = trial.suggest_categorical("context", choice.choices)
        told(**row).tell(live, trial)
        rebuilt.add_trial(told(**row).frozen({"context": value}, {"context": choice}, {}, {}))
    for left, right in zip(live.trials, rebuilt.trials, strict=True):
        assert (left.state, left.values, left.params) == (right.state, right.values, right.params)
        assert left.constraints == right.constraints
