"""`search.inherit`: who begins with whose weights, in real sweeps."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from blocks.errors import SpaceError
from nas import Space, ablate, sweep
from nas.propose import Parents, Progress
from nas.store import Store
from nas.study.checkpoints import Pruning
from nas.study.trained import trained
from runners.identity import Parent
from runners.inference import judged
from runners.protocol import Finished, Interrupted, Proposal, Work
from runners.trial import Trial

TEXT = """
name: small
data: {shapes: {size: [32, 32], train: 16, val: 8}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  context: {choice: [none, psa]}
  align: {bilinear: {channels: 16}}
training: {epochs: 2, batch: 8}
search: {sampler: grid, trials: 4, early_stopping: none, inherit: true}
"""
FINISHED = Finished()
COLUMNS = ["number", "state", "parent", "identity", "miou"]


class Sweeping:
    """Sweeps of one study in one store."""

    def __init__(self, folder: Path) -> None:
        self.url = str(folder / "nas.db")
        self.runs = folder / "runs"

    def __call__(self, *sets, text=TEXT, say=lambda line: None, **more):
        space = Space.loads(text, sets=sets)
        progress = Progress(space.search.trials, say=say)
        options = {"runner": "local", "store": self.url, "folder": self.runs} | more
        return sweep(space, progress=progress, **options)

    def rows(self, study="small"):
        with Store.open(self.url) as store:
            return store.trials(store.find_study(study)["id"], columns=COLUMNS)

    def weights(self, trial, study="small"):
        state = torch.load(self.runs / study / f"{trial:06d}" / "checkpoint.pt", weights_only=True)
        return judged(state)


@pytest.fixture
def swept(tmp_path):
    return Sweeping(tmp_path)


def parents(rows):
    return [row["parent"] for row in rows]


def stop_at(words):
    """Interrupt, as Ctrl-C would, when a line with these words is said for the first time."""
    open_ = [True]

    def say(line):
        if words in line and open_:
            open_.clear()
            raise KeyboardInterrupt

    return say


# Choosing


@pytest.fixture
def finished(store, study_id, add, tmp_path):
    """Let networks finish, each with a checkpoint, and ask who of them is nearest."""

    def add_one(context="none", model="test_resnet", miou=0.3, outcome=FINISHED, kept=True, **more):
        number = store.next_number(study_id)
        add(store, study_id, context=context, model=model, mious=(miou,), outcome=outcome, **more)
        if kept:
            place(number).touch()
        return number

    def place(number):
        return tmp_path / f"{number}.pt"

    add_one.nearest = lambda architecture, protocol: _number(
        Parents.recorded(store, study_id, place).nearest(architecture, protocol)
    )
    return add_one


def _number(parent):
    return None if parent is None else parent.trial


def test_the_nearest_shares_most_parameters(finished, architecture_of, protocol_of):
    finished(model="test_efficientnet", miou=0.9)
    plain, wide = finished(context="none"), finished(context="ppm", channels=64)
    assert finished.nearest(architecture_of("aspp", "test_resnet"), protocol_of()) == plain
    assert finished.nearest(architecture_of("ppm", "test_resnet", 64), protocol_of()) == wide


def test_of_equally_near_ones_the_better_then_the_older_is_taken(finished, architecture_of, protocol_of):
    finished(rate=1e-3, miou=0.2)
    better = finished(rate=1e-2, miou=0.4)
    finished(rate=1e-4, miou=0.4)
    assert finished.nearest(architecture_of("none", "test_resnet"), protocol_of()) == better


def test_only_finished_trials_whose_checkpoint_is_there_are_asked(finished, architecture_of, protocol_of):
    finished(context="none", kept=False)
    finished(context="none", outcome=Interrupted(), rate=1e-2)
    assert finished.nearest(architecture_of("none", "test_resnet"), protocol_of()) is None
    finished(context="psa")  # recorded with an option that does not exist (any more)
    kept = finished(context="ppm")
    assert finished.nearest(architecture_of("none", "test_resnet"), protocol_of()) == kept


def test_the_protocol_must_agree_but_for_the_options_of_training(finished, architecture_of, protocol_of):
    only, own = finished(rate=1e-2), architecture_of("none", "test_resnet")
    protocol = protocol_of(rate=1e-4, epochs=9)
    assert finished.nearest(own, protocol) == only
    for other in (
        replace(protocol, classes=4),
        replace(protocol, size=(64, 64)),
        replace(protocol, data_fingerprint="f" * 16),
        replace(protocol, main=protocol.main[:1]),
        replace(protocol, weights="f" * 16),
    ):
        assert finished.nearest(own, other) is None


# Sweeps


@pytest.mark.slow
def test_a_network_begins_with_the_weights_of_its_parent(swept, monkeypatch):
    began = {}
    epoch = Trial.epoch

    def watched(self, known):
        if not known:
            network = self._fit.judged.state_dict(), self._fit.supervised.network.state_dict()
            began[self._proposal.trial] = [{n: t.clone() for n, t in own.items()} for own in network]
        return epoch(self, known)

    monkeypatch.setattr(Trial, "epoch", watched)
    swept("training.ema=0.9", "search.trials=2")
    rows = swept.rows()
    assert parents(rows) == [None, 0]
    theirs = swept.weights(0)
    same = [name for name in theirs if name.startswith("stages.backbone.")]
    assert len(same) > 50
    for own in began[1]:
        assert all(torch.equal(own[name], theirs[name]) for name in same)
    assert not all(torch.equal(began[0][0][name], theirs[name]) for name in same)
    with Store.open(swept.url) as store:
        log = store.find_trial(1, 1)["log"]
    assert "begins with the weights of trial 0: backbone 90 of 90, context 0 of 5, align 14 of 14, head 2 of 2" in log


@pytest.mark.slow
def test_what_was_inherited_never_stands_in_for_a_fresh_start(swept):
    swept()
    inherited = swept.rows()
    assert parents(inherited) == [None, 0, 1, 2]
    swept("name=fresh", "search.inherit=false")
    fresh = swept.rows("fresh")
    # The first had no parent: it was a fresh start.
    assert [row["state"] for row in fresh] == ["replayed", "finished", "finished", "finished"]
    assert not {row["identity"] for row in inherited[1:]} & {row["identity"] for row in fresh}
    assert [row["miou"] for row in inherited[1:]] != [row["miou"] for row in fresh[1:]]
    with Store.open(swept.url) as store:
        assert [row["number"] for row in store.trials(1, "parent == 1 or parent is None")] == [0, 2]
        again = trained(store, "small", 3, folder=swept.runs, device=torch.device("cpu"))
    assert all(torch.equal(tensor, swept.weights(3)[name]) for name, tensor in again.network.state_dict().items())


@pytest.mark.slow
def test_each_network_is_trained_once_however_often_the_study_goes_on(swept):
    swept("search.sampler=random", "search.trials=2")
    swept("search.sampler=random", "search.trials=9", resume=True)
    study = swept("search.sampler=random", "search.trials=9", resume=True)
    assert study.counts() == {"finished": 4}
    assert sum(parent is None for parent in parents(swept.rows())) == 1


@pytest.mark.slow
def test_a_trial_that_goes_on_keeps_its_parent_and_its_numbers(swept, tmp_path):
    undisturbed = Sweeping(tmp_path / "undisturbed")
    undisturbed.runs.parent.mkdir()
    undisturbed()
    assert swept(say=stop_at("trial 2: epoch 1/2")).interrupted
    assert [row["state"] for row in swept.rows()] == ["finished", "finished", "interrupted"]
    swept(resume=True)
    assert swept.rows() == undisturbed.rows()


@pytest.mark.slow
def test_a_trial_whose_parent_is_gone_fails_and_the_search_goes_on(swept):
    with pytest.raises(KeyboardInterrupt):
        swept(say=stop_at("trial 2: begins"))
    row = swept.rows()[2]
    assert (row["state"], row["parent"]) == ("proposed", 1)
    shutil.rmtree(swept.runs / "small" / "000001")
    swept(resume=True)
    rows = swept.rows()
    assert [row["state"] for row in rows] == ["finished", "finished", "failed", "finished"]
    assert parents(rows) == [None, 0, 1, 0]
    with Store.open(swept.url) as store:
        assert "parent's checkpoint" in store.find_trial(1, 2)["error"]


@pytest.mark.slow
def test_a_trial_that_lost_its_checkpoint_begins_with_the_same_parent(swept):
    whole = Sweeping(swept.runs.parent / "whole")
    whole.runs.parent.mkdir()
    whole()
    swept(say=stop_at("trial 3: epoch 1/2"))
    shutil.rmtree(swept.runs / "small" / "000003")
    swept(resume=True)
    assert swept.rows() == whole.rows()


@pytest.mark.slow
def test_a_space_that_inherits_no_more_has_lost_what_was_inherited(swept):
    swept("search.trials=3")
    said = []
    swept("search.inherit=false", resume=True, say=said.append)
    assert "1 of 3 recorded trials are in it" in said[0]
    rows = swept.rows()
    assert parents(rows) == [None, 0, 1, None, None, None]
    assert len(rows) == 6
    # And with the option again, all of them count: a fresh start is nobody's child.
    said.clear()
    swept("search.trials=4", resume=True, say=said.append)
    assert "recorded trials are in it" in said[0]


@pytest.mark.slow
def test_only_the_front_keeps_checkpoints_and_is_inherited_from(swept):
    swept("resources.keep=front")
    rows = swept.rows()
    kept = {int(path.parent.name) for path in swept.runs.glob("small/*/checkpoint.pt")}
    with Store.open(swept.url) as store:
        front = {row["number"] for row in sweep_front(store)}
    assert kept == front
    assert rows[1]["parent"] == 0


def sweep_front(store):
    from nas.analysis.fronts import front

    return front(store.trials(1), {"miou": "max", "macs": "min"})


@pytest.mark.slow
@pytest.mark.ray
def test_workers_of_ray_find_the_weights_in_the_folder(swept):
    swept("training.epochs=1", "resources.concurrent=1", runner="ray")
    rows = swept.rows()
    assert [row["state"] for row in rows] == ["finished"] * 4
    # Ray asks for the next before the last has ended.
    assert parents(rows)[0] is None
    assert all(row["parent"] < row["number"] for row in rows[1:])


class Told:
    """The part of a proposer that `Pruning` asks: whose turn it is, and the results so far."""

    def __init__(self, proposals):
        self.proposals = list(proposals)
        self.progress = Progress(len(self.proposals))

    def propose(self):
        return self.proposals.pop(0)

    def ended(self, trial, outcome):
        if isinstance(outcome, Finished):
            self.progress.result(trial, {"miou": trial / 10, "macs": 1.0})


def test_a_checkpoint_stays_while_a_child_may_need_it(tmp_path, architecture_of, protocol_of):
    work = Work(place={}, folder=tmp_path, keep="front")
    plain = Proposal(trial=0, architecture=architecture_of("none"), protocol=protocol_of(), seed=0)
    parent = Parent(trial=0, identity="0", architecture=plain.architecture)
    pruning = Pruning(
        Told([plain, replace(plain, trial=1, parent=parent), replace(plain, trial=2)]), work, {"miou": "max"}
    )

    def kept():
        return {int(path.name) for path in tmp_path.iterdir()}

    def end(trial, outcome=FINISHED):
        work.checkpoint(trial).parent.mkdir(exist_ok=True)
        pruning.ended(trial, outcome)
        return kept()

    pruning.propose()
    assert end(0) == {0}
    pruning.propose()
    pruning.propose()
    assert end(2) == {0, 2}  # 0 has left the front
    assert end(1, Interrupted()) == {0, 1, 2}
    assert end(1) == {2}


# Refusals


def test_an_ablation_does_not_inherit(tmp_path):
    space = Space.loads(TEXT + "ablation: {baseline: {context: none}}\n")
    with pytest.raises(SpaceError, match=r"networks that all start fresh: got search\.inherit=True.*inherit: false"):
        ablate(space, runner="local", store=str(tmp_path / "nas.db"), folder=tmp_path)


def test_checkpoints_must_be_kept():
    with pytest.raises(SpaceError, match=r"search\.inherit needs checkpoints of finished trials.*keep: front"):
        Space.loads(TEXT, sets=["resources.keep=none"])
