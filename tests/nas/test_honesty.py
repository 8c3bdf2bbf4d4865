"""A whole sweep with every kind of outcome, for every sampler: what Optuna holds at its end, and what its tables do."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.trial import TrialState

from nas.propose import Mirror, OptunaProposer, Progress
from nas.space import Space
from runners.data import dataset
from runners.protocol import Epoch, Failed, Finished, Interrupted, Rejected, Stopped

pytestmark = pytest.mark.slow

# A Gaussian process takes seconds for each proposal: it gets a shorter sweep.
TRIALS = {"random": 500, "grid": 500, "nsga2": 500, "nsga3": 500, "tpe": 500, "gp": 14}
# A plain ViT has no output stride: those cannot be built. The widest are over the budget.
TEXT = """
data: {shapes: {size: [32, 32]}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet, test_vit]}, output_stride: {choice: [8, 16]}}}
  context: {choice: {none: , ppm: {channels: {choice: [8, 16], ordered: true}}}}
  align: {bilinear: {channels: {choice: [8, 16, 512], ordered: true}}}
training: {epochs: 2}
budget: {latency_ms: 1000, params: 2.91e6}
search: {sampler: SAMPLER, trials: TRIALS, partial_order: true, seed: 3}
"""
# What the worker says, in turn.
LIVES = [
    Finished(),
    Finished(),
    Stopped(rung=1, missing=0.5),
    Failed(reason="out of memory"),
    Failed(reason="timeout: no epoch for 10 min"),
    Failed(reason="crash: ValueError: no"),
    Rejected("latency_ms", 1500.0, 1000.0),
    "nan",
    Interrupted(),
]
STATE = {Finished: "finished", Stopped: "stopped", Failed: "failed", Rejected: "rejected"}


class Sweep:
    """A proposer over a real store and a real Optuna; only nothing is trained."""

    def __init__(self, sampler, store, name="s"):
        trials = str(TRIALS.get(sampler, 500))
        self.space = Space.loads(TEXT.replace("SAMPLER", sampler).replace("TRIALS", trials))
        self.store, self.name = store, name
        found = store.study(name)
        self.study_id = (
            found["id"]
            if found
            else store.create_study(
                name, space=self.space.text, objectives=self.space.objectives, budget=self.space.budget, seed=3
            )
        )
        self.mirror = Mirror(store.url, name, self.space.objectives)
        data = dataset(self.space.data, {})
        self.proposer = OptunaProposer(
            self.space,
            store,
            self.study_id,
            data=data.info,
            data_fingerprint=data.fingerprint(),
            progress=Progress(self.space.search.trials),
            mirror=self.mirror,
        )

    def run(self, lives):
        """Two trials at a time, so that what the sampler proposes again may be in training."""
        running = []
        while (proposal := self.proposer.propose()) is not None or running:
            if proposal is not None:
                running.append(proposal)
            if len(running) == 2 or proposal is None:
                self.live(running.pop(0), lives[self.ended % len(lives)])
        self.mirror.close()

    ended = 0

    def live(self, proposal, life):
        self.ended += 1
        number = proposal.trial
        self.proposer.started(number, host="here", device="cpu")
        miou = math.nan if life == "nan" else int(proposal.architecture.fingerprint[:4], 16) / 2**16
        if not isinstance(life, Rejected):
            self.proposer.epoch(number, report(1, miou, latency_ms=5.0))
        if isinstance(life, Finished) or life == "nan":
            self.proposer.epoch(number, report(2, miou, latency_ms=5.0))
        self.proposer.ended(number, Finished() if life == "nan" else life)

    def rows(self):
        return {row["number"]: row for row in self.store.trials(self.study_id)}

    def copied(self):
        return optuna.load_study(study_name=self.name, storage=self.store.url).trials


def report(number, miou, **more):
    figures = {"loss": 1.0, "pixel_accuracy": 0.5, "class_iou": (0.1, None), "learning_rate": 0.1, "seconds": 1.0}
    return Epoch(epoch=number, miou=miou, train_memory_bytes=1, **figures, **more)


@pytest.fixture(scope="module", params=list(TRIALS))
def swept(request, tmp_path_factory):
    from nas.store import Store

    with Store.open(str(tmp_path_factory.mktemp(request.param) / "nas.db")) as store:
        # Another study has two of the networks.
        other = Sweep("grid", store, "other")
        for _ in range(2):
            other.live(other.proposer.propose(), Finished())
        other.mirror.close()
        sweep = Sweep(request.param, store)
        sweep.run(LIVES)
        yield sweep


def test_every_kind_of_outcome_occurs_and_the_space_is_exhausted(swept):
    states = {row["state"] for row in swept.rows().values()}
    if (name := swept.space.search.sampler.name) == "gp":
        assert states > {"finished", "stopped", "failed"}
        return
    # The grid begins with the narrowest, which nothing wider speaks against.
    skipped = set() if name == "grid" else {"skipped"}
    assert states - {"skipped"} == {"finished", "stopped", "failed", "rejected", "interrupted", "replayed"}
    assert states >= skipped
    errors = {str(row["error"]).split(":")[0] for row in swept.rows().values()}
    assert {"out of memory", "timeout", "crash", "no usable value of miou", "cannot be built"} <= errors - {"hopeless"}
    assert {row["exceeded"] for row in swept.rows().values()} >= {"params", "latency_ms"}
    assert swept.proposer.progress.ending.startswith("the space is exhausted")


def test_no_trial_is_ever_left_running(swept):
    for trials in (swept.proposer.memory.study.trials, swept.copied()):
        assert trials
        assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.FAIL}


def test_the_dashboard_has_each_trial_that_has_ended_once_with_its_reason(swept):
    rows = swept.rows()
    assert sorted(t.user_attrs["trial"] for t in swept.copied()) == [
        n for n, r in rows.items() if r["state"] != "interrupted"
    ]
    for trial in swept.copied():
        row = rows[trial.user_attrs["trial"]]
        assert trial.user_attrs["state"] == row["state"]
        assert trial.user_attrs.get("reason") == row["error"]
        assert trial.params.keys() == swept.store.trial(swept.study_id, row["number"])["answers"].keys()


def test_what_is_told_follows_from_what_happened(swept):
    rows = swept.rows()
    live = [trial for trial in swept.proposer.memory.study.trials if "trial" in trial.user_attrs]
    for trial in (*live, *swept.copied()):
        row = rows[trial.user_attrs["trial"]]
        over, unfinished = (trial.constraints.get(name, 0.0) for name in ("over_budget", "unfinished"))
        match row["state"]:
            case "finished" | "replayed":
                assert trial.values == [row["miou"], row["macs"]]
                assert (over, unfinished) == (0.0, 0.0)
            case "stopped":
                assert unfinished == row["missing"] > 0
            case "skipped":
                assert (unfinished, row["miou"]) == (1.0, None)
            case "rejected":
                assert over == pytest.approx(row["exceeded_value"] / row["exceeded_limit"] - 1)
                assert over > 0
            case "failed":
                assert trial.state is TrialState.FAIL
                assert trial.values is None


def test_only_final_results_can_be_best(swept):
    rows = swept.rows()
    best = [trial for trial in swept.proposer.memory.study.best_trials if "trial" in trial.user_attrs]
    assert best
    assert {rows[trial.user_attrs["trial"]]["state"] for trial in best} <= {"finished", "replayed"}


def test_a_duplicate_is_told_what_is_recorded_and_never_trained(swept):
    rows = swept.rows()
    assert len({row["identity"] for row in rows.values()}) == len(rows)
    known = {(row["miou"], row["macs"]) for row in rows.values()}
    study = swept.proposer.memory.study
    again = [trial for trial in study.trials if "trial" not in trial.user_attrs]
    for trial in again:
        if trial.values and not any(value > 0 for value in trial.constraints.values()):
            assert tuple(trial.values) in known
    repeats = sum(row["repeats"] for row in rows.values())
    assert repeats <= len(again)
    assert swept.proposer.progress.repeats >= repeats
    if swept.space.search.sampler.name in {"nsga2", "nsga3", "tpe"}:
        assert repeats > 0


def test_a_restart_tells_the_same(swept):
    again = Sweep(swept.space.search.sampler.name, swept.store)
    again.mirror.close()
    told = {t.user_attrs["trial"]: t for t in swept.proposer.memory.study.trials if "trial" in t.user_attrs}
    rebuilt = {t.user_attrs["trial"]: t for t in again.proposer.memory.study.trials}
    assert told.keys() == rebuilt.keys()
    for number, trial in told.items():
        other = rebuilt[number]
        assert (trial.state, trial.params, trial.constraints) == (other.state, other.params, other.constraints)
        assert trial.user_attrs == other.user_attrs
        if trial.values and not any(trial.constraints.values()):
            assert trial.values == other.values
    assert again.proposer.progress.repeats == sum(row["repeats"] for row in swept.rows().values())


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3"])
def test_an_evolution_goes_on_where_it_was(sampler, store):
    first = Sweep(f"{{{sampler}: {{population: 4}}}}", store)
    for _ in range(9):
        first.live(first.proposer.propose(), Finished())
    second = Sweep(f"{{{sampler}: {{population: 4}}}}", store)
    study = second.proposer.memory.study
    second.proposer.propose()
    kind = study.sampler
    complete = sum(trial.state is TrialState.COMPLETE for trial in study.trials)
    for generation in range(complete // 4):
        assert len(kind.get_population(study, generation)) == 4
    asked = study.trials[-1]
    assert kind.get_trial_generation(study, asked) >= complete // 4 >= 2
    for sweep in (first, second):
        sweep.mirror.close()
