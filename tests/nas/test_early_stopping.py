"""Early stopping in whole sweeps: real spaces, samplers, stores and runners; only the training is made up."""

from __future__ import annotations

from collections import Counter

import optuna
import pytest

from nas.propose import Mirror, OptunaProposer, Progress
from nas.space import Space
from nas.store import Store
from nas.study import work_of
from nas.study.checkpoints import Pruning
from nas.study.resume import claim, recall
from runners.data import dataset
from runners.halving import ParetoHalving, bracket_of, rungs
from runners.local import LocalRunner
from runners.promotion import Promotion
from runners.protocol import Epoch, Finished

# What follows from an answer exists only where that answer is chosen.
TEXT = """
data: {shapes: {size: [32, 32], train: 4, val: 2}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  context:
    choice:
      none:
      ppm: {bins: {choice: [[1, 2], [1, 3]]}, channels: {choice: [8, 16]}}
      psa: {mode: {choice: [parallel, sequential]}}
  align: {bilinear: {channels: {choice: [8, 16]}}}
training: {epochs: 8}
search: {sampler: SAMPLER, trials: 24, early_stopping: {pareto_asha: OPTIONS}, seed: 3}
"""
OPTIONS = "{eta: 2, minimum: 2}"


def space_of(sampler="random", options=OPTIONS, *sets):
    return Space.loads(TEXT.replace("SAMPLER", sampler).replace("OPTIONS", options), sets=sets)


def curve(proposal, number):
    """Networks differ, learn at different paces, and their curves cross."""
    mark = int(proposal.architecture.fingerprint[:8], 16)
    final, pace = 0.2 + 0.6 * (mark % 997) / 997, 0.2 + 0.6 * (mark % 13) / 13
    return final * (1 - (1 - pace) ** number)


class Training:
    """A recipe that writes a checkpoint and goes on from it as the real one does; a person may interrupt it."""

    def __init__(self, interrupt_at=None):
        self.epochs, self._interrupt_at = [], interrupt_at

    def __call__(self, proposal, work, data, device):
        file = work.checkpoint(proposal.trial)
        assert proposal.done == (int(file.read_text()) if file.exists() else 0)
        for number in range(proposal.done + 1, proposal.epochs + 1):
            if len(self.epochs) == self._interrupt_at:
                raise KeyboardInterrupt
            self.epochs.append((proposal.trial, number))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(str(number))
            yield Epoch(
                epoch=number,
                loss=1.0,
                miou=curve(proposal, number),
                pixel_accuracy=0.5,
                class_iou=(),
                learning_rate=0.1,
                seconds=1.0,
                train_memory_bytes=1,
            )
        return Finished()


@pytest.fixture
def run(tmp_path):
    def run(space, recipe, *, name="s", runner=LocalRunner, promotion=Promotion, resume=False, mirrored=False):
        work = work_of(space, tmp_path / name)
        data = dataset(space.data, {})
        with Store.open(str(tmp_path / "nas.db")) as store:
            known = {"data": data.info, "fingerprint": data.fingerprint()}
            study_id, _ = claim(space, name, store, resume=resume, **known)
            mirror = Mirror(store.url, name, space.objectives) if mirrored else None
            proposer = OptunaProposer(
                space,
                store,
                study_id,
                data=data.info,
                data_fingerprint=data.fingerprint(),
                progress=Progress(space.search.trials),
                mirror=mirror,
            )
            search = space.search
            stopper = ParetoHalving(search.early_stopping, space.objectives, seed=search.seed, trials=search.trials)
            recall(stopper, store, study_id)
            inner = Pruning(proposer, work, space.objectives) if work.keep != "last" else proposer
            ended = runner(work, space.data, stopper, recipe=recipe).run(promotion(inner, stopper))
            if mirror:
                mirror.close()
            assert Counter(row["state"] for row in store.trials(study_id)) == +proposer.progress.counts
            return ended, {row["number"]: row | {"curve": epochs(store, row)} for row in store.trials(study_id)}

    return run


def epochs(store, row):
    return [epoch["epoch"] for epoch in store.epochs(row["id"])]


def well_ended(rows, space):
    """Every trial is in one final state, with every epoch up to the rung that it ended at, and none beyond."""
    options = space.search.early_stopping
    for number, row in rows.items():
        assert row["state"] in {"finished", "stopped"}
        assert row["curve"] == list(range(1, row["epochs"] + 1))
        levels = rungs(options, 8, bracket_of(options, number, space.search.seed))
        if row["state"] == "finished":
            assert (row["epochs"], row["rung"], row["missing"]) == (8, None, None)
        else:
            assert row["rung"] == row["epochs"] in levels
            left = len(levels) - levels.index(row["rung"])
            assert row["missing"] == pytest.approx(left / (len(levels) + 1))


@pytest.mark.parametrize(
    ("sampler", "trials"),
    [
        ("tpe", 24),
        *(pytest.param(name, 24, marks=pytest.mark.slow) for name in ("random", "grid", "nsga2", "nsga3", "surrogate")),
        pytest.param("gp", 13, marks=pytest.mark.slow),  # takes seconds for each proposal after its tenth
    ],
)
def test_it_works_with_every_sampler_on_a_conditional_space(run, sampler, trials):
    space, recipe = space_of(sampler, OPTIONS, f"search.trials={trials}"), Training()
    ended, rows = run(space, recipe, mirrored=True)
    assert ended
    assert len(rows) == trials
    well_ended(rows, space)
    assert len(recipe.epochs) == len(set(recipe.epochs)) == sum(row["epochs"] for row in rows.values())
    assert len(recipe.epochs) < 0.8 * trials * 8
    assert Counter(row["state"] for row in rows.values())["finished"] >= 2


@pytest.mark.parametrize(
    "options",
    [
        "{eta: 2, minimum: 2, promote: false}",
        "{eta: 2, minimum: 2, brackets: 3}",
        "{eta: 3, grace: 2, minimum: 3, spread: epsilon_net}",
        "{eta: 2, minimum: 2, trust: -1.0}",
    ],
)
def test_every_option_is_read_and_leaves_each_trial_well_ended(run, options):
    space, recipe = space_of("random", options), Training()
    assert run(space, recipe, name=options)[0]
    rows = run(space, recipe, name=options, resume=True)[1]
    well_ended(rows, space)
    assert len(recipe.epochs) == len(set(recipe.epochs))
    assert space.search.early_stopping.promote == ("promote" not in options)
    assert (space.search.early_stopping.trust is not None) == ("trust" in options)


@pytest.mark.slow
def test_promotion_brings_more_networks_to_the_end(run):
    finished = {}
    for promote, decay in (("true", 0.1), ("false", 0.2)):  # another recipe: else one study replays the other
        space = space_of("grid", f"{{eta: 2, minimum: 2, promote: {promote}}}", f"training.weight_decay={decay}")
        rows = run(space, Training(), name=promote)[1]
        finished[promote] = sum(row["state"] == "finished" for row in rows.values())
    assert 1 <= finished["false"] < finished["true"]


class Hasty(Promotion):
    """Interrupted after an epoch was recorded and before it was judged."""

    left = 0

    def epoch(self, trial, epoch):
        super().epoch(trial, epoch)
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 2, 7, 20, 33, 47, 60])
@pytest.mark.parametrize("judged", [True, False])
def test_an_interrupted_sweep_ends_as_an_undisturbed_one(run, at, judged, monkeypatch):
    space = space_of("grid", OPTIONS)
    monkeypatch.setattr(Hasty, "left", at)
    whole, cut, rest = Training(), Training(interrupt_at=at if judged else None), Training()
    _, expected = run(space, whole, name="whole")
    # Another weight decay makes another result: else this study would replay the first.
    space = space_of("grid", OPTIONS, "training.weight_decay=0.5")
    ended, _ = run(space, cut, name="cut", promotion=Promotion if judged else Hasty)
    assert not ended
    ended, found = run(space, rest, name="cut", resume=True)
    assert ended
    well_ended(found, space)
    assert cut.epochs + rest.epochs == whole.epochs
    for number, row in expected.items():
        assert (found[number]["state"], found[number]["epochs"]) == (row["state"], row["epochs"])


@pytest.mark.parametrize("keep", ["front", "none"])
def test_checkpoints_of_those_that_wait_stay_until_they_wait_no_more(run, tmp_path, keep):
    space = space_of("grid", OPTIONS, f"resources.keep={keep}")
    ended, rows = run(space, Training(interrupt_at=40))
    waiting = {number for number, row in rows.items() if row["state"] in {"paused", "interrupted"}}
    front = {n for n, row in rows.items() if row["state"] == "finished" and keep == "front"}
    kept = {int(folder.name) for folder in (tmp_path / "s").iterdir()}
    assert not ended
    assert len(waiting) > 1
    assert waiting <= kept <= waiting | front
    ended, rows = run(space, Training(), resume=True)
    kept = {int(folder.name) for folder in (tmp_path / "s").iterdir()}
    assert ended
    assert kept <= {n for n, row in rows.items() if row["state"] == "finished" and keep == "front"}
    assert bool(kept) == (keep == "front")


@pytest.mark.slow
def test_the_dashboard_hears_of_each_trial_once_and_only_how_it_ended(run, tmp_path):
    _, rows = run(space_of("tpe"), Training(), mirrored=True)
    copied = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'nas.db'}").trials
    assert sorted(trial.user_attrs["trial"] for trial in copied) == sorted(rows)
    for trial in copied:
        row = rows[trial.user_attrs["trial"]]
        assert trial.constraints["unfinished"] == pytest.approx(row["missing"] or 0.0)


def test_a_resumed_sampler_knows_what_is_paused(run, tmp_path):
    ended, rows = run(space_of("random"), Training(interrupt_at=40))
    assert not ended
    with Store.open(str(tmp_path / "nas.db")) as store:
        told = {row["number"]: row for row in store.told(store.find_study("s")["id"])}
    paused = {number for number, row in rows.items() if row["state"] == "paused"}
    assert paused
    assert paused <= told.keys()


@pytest.mark.ray
@pytest.mark.slow
def test_it_works_through_ray(run):
    from runners.ray_tune import RayRunner

    space = space_of("tpe", OPTIONS, "resources.concurrent=2")
    ended, rows = run(space, remote, runner=RayRunner, mirrored=True)
    assert ended
    assert len(rows) == 24
    well_ended(rows, space)
    assert sum(row["epochs"] for row in rows.values()) < 0.9 * 24 * 8


def remote(proposal, work, data, device):
    """`Training`, as a function that travels."""
    return (yield from Training()(proposal, work, data, device))
