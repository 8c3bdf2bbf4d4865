"""Simulated searches: real sampler, real stopper, a store in memory, curves that were recorded before."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import pytest

from blocks.errors import QueryError
from nas.analysis.yardstick import Yardstick
from nas.propose import OptunaProposer, Progress
from nas.report.simulations import course, fronts
from nas.space import Space
from nas.store import Store
from nas.study.curves import import_curves
from nas.study.simulation import Recorded, simulate
from nas.study.work import info_of
from runners.protocol import Epoch
from runners.simulated import SimulatedRunner

EPOCHS = 4
SPACE = f"""
name: tried
data: {{shapes: {{size: [32, 32]}}}}
architecture:
  backbone: {{timm: {{model: {{choice: [test_resnet, test_efficientnet]}}}}}}
  context: {{choice: [none, ppm, psa]}}
  align: {{bilinear: {{channels: {{choice: [8, 16, 32]}}}}}}
training: {{epochs: {EPOCHS}}}
search: {{sampler: random, trials: 18, early_stopping: none}}
"""
NETWORKS = 18
COLUMNS = """
net: architecture.backbone.timm.model
context: architecture.context
width: architecture.align.bilinear.channels
"""


def value(net, context, width):
    return 0.1 + 0.1 * (net == "test_resnet") + 0.05 * ["none", "ppm", "psa"].index(context) + 0.004 * width


def records():
    for net in ("test_resnet", "test_efficientnet"):
        for context in ("none", "ppm", "psa"):
            for width in (8, 16, 32):
                final = value(net, context, width)
                yield {
                    "config": {"net": net, "context": context, "width": width},
                    "macs": int(1e6 * 2 ** (10 * final)),
                    "params": 1000,
                    "miou": [final * e / EPOCHS for e in range(1, EPOCHS + 1)],
                    "epoch_seconds": [1800.0] * EPOCHS,
                }


@pytest.fixture
def space():
    return Space.loads(SPACE)


@pytest.fixture
def table(tmp_path, space):
    def table(lines):
        (tmp_path / "columns.yaml").write_text(COLUMNS)
        (tmp_path / "curves.jsonl").write_text("\n".join(map(json.dumps, lines)))
        file = str(tmp_path / "nas.db")
        import_curves(tmp_path / "curves.jsonl", space, tmp_path / "columns.yaml", study="theirs", store=file)
        with Store.open(file) as store:
            return Recorded(store, "theirs")

    return table


def test_without_stopping_the_whole_table_is_found(space, table):
    recorded = table(records())
    done = simulate(space, recorded, workers=2)
    assert done.counts == {"finished": NETWORKS}
    assert done.epochs == NETWORKS * EPOCHS
    assert done.seconds == NETWORKS * EPOCHS * 1800.0 / 2
    assert sorted(found.values["miou"] for found in done.found) == pytest.approx(
        sorted(record["miou"][-1] for record in records())
    )
    assert {found.values["macs"] for found in done.found} == {record["macs"] for record in records()}
    path = Yardstick(recorded.finals(), space.objectives).path([found.values for found in done.found])
    assert path == sorted(path)
    assert path[-1] == pytest.approx(1.0)


def test_stopping_trains_less_and_the_seed_decides(space, table):
    recorded = table(records())
    stopping = Space.loads(
        SPACE.replace("early_stopping: none", "early_stopping: {pareto_asha: {eta: 2, minimum: 2}}"),
        sets=["objectives={miou: max}"],
    )
    first, again, other = (simulate(stopping, recorded, workers=2, seed=seed) for seed in (1, 1, 2))
    assert first.counts["stopped"] > 0
    assert first.epochs < NETWORKS * EPOCHS
    assert first.moments == again.moments
    assert first.moments != other.moments


def test_a_network_that_the_table_lacks_fails_and_is_counted(space, table):
    done = simulate(space, table(list(records())[:12]))
    assert done.counts == {"finished": 12, "failed": 6}
    assert done.unknown == 6
    assert done.epochs == 12 * EPOCHS


def test_what_the_space_fixes_otherwise_is_another_network(space, table):
    recorded = table(records())
    other = Space.loads(SPACE, sets=["training.batch=2"])
    assert simulate(other, recorded).counts == {"failed": NETWORKS}


def test_the_budget_is_held_against_the_recorded_costs(table):
    least = sorted(record["macs"] for record in records())[8]
    within = Space.loads(SPACE, sets=[f"budget={{macs: {least}}}"])
    assert simulate(within, table(records())).counts == {"finished": 9, "rejected": 9}


def test_a_study_that_was_trained_here_is_replayed(space, tmp_path):
    """The recorded study is one of ours: made by the real proposer, whose costs are those of our components."""
    trained = Space.loads(SPACE, sets=["search.trials=6"])
    with Store.open(str(tmp_path / "nas.db")) as store:
        study = store.create_study("ours", space=trained.text, objectives=trained.objectives, budget={}, seed=0)
        proposer = OptunaProposer(
            trained, store, study, data=info_of(trained), data_fingerprint="x", progress=Progress(6)
        )
        figures = {"loss": 1.0, "pixel_accuracy": 0.5, "learning_rate": 0.1, "train_memory_bytes": 1}
        curves = {
            trial: [
                Epoch(epoch=e, miou=trial / 10 + e / 100, class_iou=(), seconds=1.0, **figures) for e in (1, 2, 3, 4)
            ]
            for trial in range(6)
        }
        SimulatedRunner(lambda proposal: curves[proposal.trial]).run(proposer)
        before = store.studies()
        recorded = Recorded(store, "ours")
        done = simulate(space, recorded)
        assert done.counts == {"finished": 6, "failed": 12}
        assert {found.values["miou"] for found in done.found} == {trial / 10 + 0.04 for trial in range(6)}
        assert {found.values["macs"] for found in done.found} == {row["macs"] for row in store.trials(study)}
        assert store.studies() == before
        with pytest.raises(QueryError, match="a study with learning curves"):
            store.create_study("empty", space="", objectives={}, budget={}, seed=0)
            Recorded(store, "empty")


def test_of_several_seeds_the_proposals_picks_one(space, table):
    doubled = [record | {"seed": seed, "miou": [0.01 + 0.1 * seed] * EPOCHS} for record in records() for seed in (0, 1)]
    recorded = table(doubled)
    for seed, expected in ((0, 0.01), (1, 0.11), (4, 0.01)):
        done = simulate(space, recorded, seed=seed)
        assert {found.values["miou"] for found in done.found} == {expected}
    assert len(recorded.finals()) == 2 * NETWORKS


def test_course_and_fronts_as_rows(space, table):
    recorded = table(records())
    done = [simulate(space, recorded, seed=seed) for seed in (0, 1)]
    rows = course(done, Yardstick(recorded.finals(), space.objectives))
    assert len(rows) == 10
    assert rows[-1]["epochs"] == NETWORKS * EPOCHS
    assert rows[-1]["hours"] == pytest.approx(NETWORKS * EPOCHS / 2)
    assert rows[-1]["finished"] == NETWORKS
    assert rows[-1]["hypervolume"] == pytest.approx(1.0)
    assert all(row["low"] <= row["hypervolume"] <= row["high"] + 1e-12 for row in rows)
    assert all(a["hypervolume"] <= b["hypervolume"] for a, b in itertools.pairwise(rows))
    found = fronts(done, space.objectives)
    assert {row["seeds"] for row in found} == {2}
    # In this table more MACs are always more mIoU, and what is equal is kept.
    assert len(found) == NETWORKS


@pytest.mark.slow
def test_the_verbs_import_and_simulate(tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "columns.yaml").write_text(COLUMNS)
    (tmp_path / "curves.jsonl").write_text("\n".join(map(json.dumps, list(records())[:17])))

    def nas(*arguments):
        command = [sys.executable, "-m", "nas", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    brought = nas(
        *("import", "curves.jsonl", "--space", "space.yaml", "--columns", "columns.yaml", "--study", "theirs"),
    )
    assert brought.returncode == 0, brought.stderr
    assert brought.stdout.startswith("17 trials imported as theirs")
    done = nas("simulate", "space.yaml", "--from", "theirs", "--seeds", "2", "--workers", "2", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert rows[-1]["hypervolume"] == pytest.approx(1.0)
    assert "2 of the proposed networks have no (whole) curve in theirs" in done.stderr
    shown = nas("simulate", "space.yaml", "--from", "theirs", "--show", "front")
    assert "tried on theirs: 1 seeds, on average: 17 finished, 1 failed" in shown.stdout
    assert "test_resnet" in shown.stdout
    wrong = nas("simulate", "space.yaml", "--from", "thiers")
    assert wrong.returncode == 2
    assert "Did you mean 'theirs'?" in wrong.stderr
