"""The benchmark of searches: landscapes that do not move, strategies that run, and a table that says what it should."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import kendalltau

from benchmarks.landscapes import EPOCHS, RULES, Landscape
from benchmarks.search import compared, measured, read
from benchmarks.strategies import Task, has_syne_tune, strategies
from nas.propose.candidates import protocol_of
from nas.study.work import info_of
from runners.protocol import Proposal

FAST = ["random"]


def proposals(landscape, count=150):
    info = info_of(landscape.space)
    for number, candidate in enumerate(landscape.space.enumerate()):
        if number % 5 == 0 and number < 5 * count:
            protocol = protocol_of(landscape.space, candidate, info, "x")
            yield Proposal(trial=number, architecture=candidate.architecture, protocol=protocol, seed=0)


@pytest.fixture(scope="module")
def curves():
    found = {}
    for name in RULES:
        landscape = Landscape(name)
        found[name] = np.array([[e.miou for e in landscape.curve(p)] for p in proposals(landscape)])
    return found


@pytest.mark.parametrize("name", RULES)
def test_a_landscape_is_the_same_every_time_and_a_score_is_a_score(name, curves):
    again = Landscape(name)
    first = next(proposals(again))
    assert [epoch.miou for epoch in again.curve(first)] == curves[name][0].tolist()
    assert curves[name].shape[1] == EPOCHS
    assert curves[name].min() >= 0.0 and curves[name].max() <= 1.0
    # The seed of a proposal is that of the search: it must not change the network's curve.
    other = dataclasses.replace(first, seed=7, trial=99)
    assert [epoch.miou for epoch in again.curve(other)] == curves[name][0].tolist()


def test_curves_cross_where_the_rule_says_so(curves):
    early = {name: kendalltau(found[:, 0], found[:, -1])[0] for name, found in curves.items()}
    assert early["crossing"] < 0.0
    assert early["aligned"] > 0.4
    stuck = (curves["late"][:, EPOCHS // 2 - 1] < 0.5 * curves["late"][:, -1]).mean()
    assert 0.05 < stuck < 0.4


@pytest.mark.slow
def test_every_strategy_spends_exactly_its_epochs():
    landscape = Landscape("crossing")
    task = Task(space=landscape.space, landscape=landscape, seed=0, epochs=160, schedule=EPOCHS)
    for name, strategy in strategies(FAST, grace=2, eta=2).items():
        done = strategy(task)
        assert done.epochs == 160, name
        assert done.found or "alone" in name, name
        assert all(found.epochs <= 160 for found in done.found)


@pytest.mark.skipif(has_syne_tune(), reason="Syne Tune is installed")
def test_without_syne_tune_its_strategy_is_left_out():
    assert not any("Syne Tune" in name for name in strategies(FAST, grace=1, eta=2))


def test_the_table_compares_with_the_first_strategy():
    base = [measured([0.5, 0.92], [40, 100], 200), measured([0.5, 0.96], [40, 200], 200)]
    ours = [measured([0.91, 0.97], [25, 50], 200), measured([0.9, 0.99], [25, 60], 200)]
    rows = compared({"base": base, "ours": ours})
    assert [row["strategy"] for row in rows] == ["base", "ours"]
    assert (rows[0]["to 90%"], rows[0]["to 95%"]) == ("150", "never")
    assert (rows[1]["to 90%"], rows[1]["ratio to 90%"]) == ("25", "0.17")
    assert rows[1]["ratio to 95%"] == ""
    assert rows[1]["at 0.25"].startswith("0.935")
    assert rows[0]["gain at 1"].startswith("+0.000")
    assert rows[1]["gain at 1"].startswith("+0.040")


def test_runs_that_were_written_are_paired_by_seed_or_left_out(tmp_path, capsys):
    def lines(strategy, finals):
        rows = ({**measured([0.5, final], [40, 200], 200), "strategy": strategy} for final in finals)
        return [json.dumps({"landscape": "late", "seed": seed, **row}) for seed, row in enumerate(rows)]

    plain, careful = lines("tpe, no stopping", [0.7, 0.9]), lines("tpe, pareto_asha", [0.8, 1.0])
    few = lines("tpe, pareto_asha, trust 0.5", [0.9])
    (tmp_path / "a.jsonl").write_text("\n".join([*plain[::-1], few[0]]))
    (tmp_path / "b.jsonl").write_text("\n".join(careful))
    runs = read([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])["late"]
    assert list(runs) == ["tpe, no stopping", "tpe, pareto_asha"]
    assert "trust 0.5 is left out" in capsys.readouterr().err
    rows = compared(runs)
    assert rows[0]["over no stopping"] == ""
    # Seed by seed 0.1 more, which has no spread, though the lines were in another order.
    assert rows[1]["over no stopping"] == "+0.100 [+0.100, +0.100]"
