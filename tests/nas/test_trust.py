"""Early stopping that has to prove itself: what a resumed run knows of it, and what a whole sweep makes of it."""

from __future__ import annotations

import pytest

from blocks.errors import SpaceError
from nas.propose import OptunaProposer, Progress
from nas.space import Space
from nas.store import Store
from nas.study import work_of
from nas.study.resume import claim, recall
from runners.data import dataset
from runners.halving import ParetoHalving
from runners.local import LocalRunner
from runners.promotion import Promotion
from runners.protocol import Epoch, Finished, Halving, Paused, Proposal

TRUST = Halving(grace=1, eta=2, minimum=2, trust=0.5)
SCORE = {"miou": "max"}
SPACE = """
data: {shapes: {size: [32, 32], train: 4, val: 2}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  align: {bilinear: {channels: {int: [8, 80], step: 8}}}
training: {epochs: 4}
objectives: {miou: max}
search: {sampler: grid, trials: 20, early_stopping: {pareto_asha: {eta: 2, minimum: 2, trust: 0.5}}}
"""
NETWORKS = 20


@pytest.fixture
def asked(protocol_of, architecture_of):
    return lambda trial: Proposal(trial=trial, architecture=architecture_of("none"), protocol=protocol_of(), seed=0)


def test_recalled_finals_restore_trust(store, study_id, add, epoch_of, asked):
    """As if no run had ended: of five that finished in their order, a sixth far behind has to wait."""
    for trial in range(5):
        score = 0.9 - 0.1 * trial
        add(store, study_id, channels=100 + trial, mious=(score / 3, score / 2, score))
    resumed = ParetoHalving(TRUST, SCORE)
    recall(resumed, store, study_id)
    undisturbed = ParetoHalving(TRUST, SCORE)
    for row in store.trials(study_id):
        for number, epoch in enumerate(store.epochs(row["id"]), start=1):
            proposal = asked(row["number"])
            assert undisturbed.goes_on(proposal, epoch_of(number, epoch["miou"]))
    for stopper in (resumed, undisturbed):
        behind, ahead = (asked(trial) for trial in (98, 99))
        assert not stopper.goes_on(behind, epoch_of(1, 0.01))
        assert stopper.goes_on(ahead, epoch_of(1, 0.95))


def test_recalled_finals_that_crossed_let_what_waits_go_on(store, study_id, add):
    for trial in range(5):
        add(store, study_id, channels=100 + trial, mious=(0.1 * trial, 0.5, 0.9 - 0.1 * trial))
    add(store, study_id, channels=200, mious=(0.05,), outcome=Paused(rung=1, missing=2 / 3))
    stopper = ParetoHalving(TRUST, SCORE, trials=6)
    recall(stopper, store, study_id)
    assert stopper.lost() == []
    assert stopper.promotable() == 5


def test_four_finals_are_too_few_after_a_resume_too(store, study_id, add, epoch_of, asked):
    for trial in range(4):
        score = 0.9 - 0.1 * trial
        add(store, study_id, channels=100 + trial, mious=(score / 3, score / 2, score))
    stopper = ParetoHalving(TRUST, SCORE)
    recall(stopper, store, study_id)
    assert stopper.goes_on(asked(99), epoch_of(1, 0.01))


class Training:
    """A recipe whose curves rise in their order, or turn it round at their end; a person may interrupt it."""

    def __init__(self, *, crossing, interrupt_at=None):
        self.crossing, self.interrupt_at, self.epochs = crossing, interrupt_at, []

    def __call__(self, proposal, work, data, device):
        quality = 0.2 + 0.6 * int(proposal.architecture.fingerprint[:8], 16) / 2**32
        for number in range(proposal.done + 1, proposal.epochs + 1):
            if len(self.epochs) == self.interrupt_at:
                raise KeyboardInterrupt
            self.epochs.append((proposal.trial, number))
            last = number == proposal.epochs
            miou = 1 - quality if last and self.crossing else quality * number / proposal.epochs
            figures = {"loss": 1.0, "pixel_accuracy": 0.5, "learning_rate": 0.1, "seconds": 1.0}
            yield Epoch(epoch=number, miou=miou, class_iou=(), train_memory_bytes=1, **figures)
        return Finished()


def swept(space, recipe, folder, *, resume=False):
    data = dataset(space.data, {})
    with Store.open(str(folder / "nas.db")) as store:
        study, _ = claim(space, "s", store, resume=resume, data=data.info, fingerprint=data.fingerprint())
        known = {"data": data.info, "data_fingerprint": data.fingerprint()}
        proposer = OptunaProposer(space, store, study, progress=Progress(space.search.trials), **known)
        search = space.search
        stopper = ParetoHalving(search.early_stopping, space.objectives, seed=search.seed, trials=search.trials)
        recall(stopper, store, study)
        LocalRunner(work_of(space, folder), space.data, stopper, recipe=recipe).run(Promotion(proposer, stopper))
        return {row["number"]: (row["state"], row["epochs"]) for row in store.trials(study)}


def test_a_sweep_stops_some_where_curves_keep_their_order_and_nobody_where_they_cross(tmp_path):
    space, found = Space.loads(SPACE), {}
    for crossing in (False, True):
        folder = tmp_path / str(crossing)
        folder.mkdir()
        rows = swept(space, Training(crossing=crossing), folder)
        assert len(rows) == NETWORKS
        assert list(rows.values())[:5] == [("finished", 4)] * 5
        found[crossing] = sum(state == "stopped" for state, _ in rows.values())
    assert found[True] == 0
    assert found[False] >= 5


@pytest.mark.parametrize("at", [9, 21, 27, 35])
def test_an_interrupted_sweep_trusts_what_an_undisturbed_one_does(tmp_path, at):
    space = Space.loads(SPACE)
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = Training(crossing=False)
    expected = swept(space, whole, tmp_path / "whole")
    cut, rest = Training(crossing=False, interrupt_at=at), Training(crossing=False)
    swept(space, cut, tmp_path / "cut")
    assert swept(space, rest, tmp_path / "cut", resume=True) == expected
    assert cut.epochs + rest.epochs == whole.epochs


def test_trust_is_read_and_checked(tmp_path):
    assert Space.loads(SPACE).search.early_stopping.trust == 0.5
    assert Space.loads(SPACE.replace(", trust: 0.5", "")).search.early_stopping.trust is None
    file = tmp_path / "s.yaml"
    file.write_text(SPACE.replace("trust: 0.5", "trust: 2"))
    with pytest.raises(SpaceError, match=r"s\.yaml:8:\d+: search\.early_stopping\.pareto_asha\.trust needs float"):
        Space.load(file)
