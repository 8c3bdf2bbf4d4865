import dataclasses
import logging

import pytest
import torch

from blocks.architecture import Architecture, Component
from blocks.errors import DataError, RunError, StoreError
from runners.device import describe, device
from runners.local import LocalRunner
from runners.protocol import Failed, Finished, Interrupted, Rejected, Stopped

DATA = Component.of("shapes", {"size": (32, 32), "train": 20, "val": 6})


class Recorder:
    """A proposer that hands out a list and remembers all that it hears."""

    def __init__(self, proposals, on_epoch=lambda trial, epoch: None):
        self._left, self._on_epoch = list(proposals), on_epoch
        self.begun, self.heard, self.outcomes = {}, {}, {}

    def propose(self):
        return self._left.pop(0) if self._left else None

    def over(self):
        return False

    def started(self, trial, *, host, device):
        self.begun[trial] = (host, device)

    def epoch(self, trial, epoch):
        self.heard.setdefault(trial, []).append(epoch)
        self._on_epoch(trial, epoch)

    def ended(self, trial, outcome):
        assert trial not in self.outcomes
        self.outcomes[trial] = outcome


class After:
    """Stops everything after an epoch."""

    def __init__(self, epoch):
        self._epoch = epoch

    def goes_on(self, proposal, epoch):
        return epoch.epoch < self._epoch

    def stopped(self, proposal, epoch):
        return Stopped(rung=epoch.epoch, missing=0.5)


def test_proposals_are_carried_out_in_turn(proposal, work):
    proposer = Recorder([proposal(0), proposal(1, seed=1)])
    assert LocalRunner(work, DATA).run(proposer) is True
    assert proposer.outcomes == {0: Finished(), 1: Finished()}
    assert [[e.epoch for e in heard] for heard in proposer.heard.values()] == [[1, 2], [1, 2]]
    host, where = proposer.begun[0]
    assert host
    assert where.startswith("cpu")


def test_early_stopping_ends_a_trial(proposal, work):
    proposer = Recorder([proposal(epochs=4)])
    assert LocalRunner(work, DATA, After(2)).run(proposer) is True
    assert proposer.outcomes == {0: Stopped(rung=2, missing=0.5)}
    assert len(proposer.heard[0]) == 2


def test_a_failure_is_recorded_and_the_search_goes_on(proposal, work, caplog):
    impossible = dataclasses.replace(
        proposal(0), architecture=Architecture(backbone=Component.of("timm", {"model": "no_such_model"}))
    )
    wild = {"learning_rate": 100.0, "weight_decay": 10.0, "clip": 0.0, "schedule": "constant", "warmup": 0.0}
    diverging = proposal(1, epochs=8, **wild)
    proposer = Recorder([impossible, diverging, proposal(2, limits={"latency_ms": 1e-6}), proposal(3, epochs=1)])
    with caplog.at_level(logging.WARNING, logger="nas"):
        assert LocalRunner(work, DATA).run(proposer) is True
    first, second, third, fourth = (proposer.outcomes[i] for i in range(4))
    assert isinstance(first, Failed)
    assert "no_such_model" in first.reason + first.traceback
    assert second.reason.startswith("diverged at step")
    assert isinstance(third, Rejected)
    assert fourth == Finished()
    assert "trial 0 failed: " in caplog.text


@pytest.mark.slow
def test_an_interrupted_trial_is_told_so_and_can_be_continued(proposal, work, numbers):
    def interrupt(trial, epoch):
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    interrupted = Recorder([proposal(epochs=3), proposal(1)], on_epoch=interrupt)
    assert LocalRunner(work, DATA).run(interrupted) is False
    assert interrupted.outcomes == {0: Interrupted()}
    continued = Recorder([proposal(epochs=3, done=1)])
    assert LocalRunner(work, DATA).run(continued) is True
    whole = Recorder([proposal(5, epochs=3)])
    LocalRunner(work, DATA).run(whole)
    assert numbers(interrupted.heard[0] + continued.heard[0]) == numbers(whole.heard[5])


def test_missing_data_are_the_persons_mistake_before_anything_is_proposed(proposal, work, tmp_path):
    proposer = Recorder([proposal()])
    missing = dataclasses.replace(work, place={"root": str(tmp_path)})
    with pytest.raises(DataError, match="images/train"):
        LocalRunner(missing, Component("camvid")).run(proposer)
    assert not proposer.begun


def test_what_no_trial_could_survive_ends_the_search(proposal, work):
    proposer = Recorder([proposal(0, precision="float16"), proposal(1)])
    with pytest.raises(RunError, match="CUDA device for float16"):
        LocalRunner(work, DATA).run(proposer)
    assert isinstance(proposer.outcomes[0], Failed)
    assert 1 not in proposer.begun


def test_an_error_of_the_proposer_is_not_blamed_on_the_trial(proposal, work):
    def full(trial, epoch):
        raise StoreError("disk full")

    proposer = Recorder([proposal()], on_epoch=full)
    with pytest.raises(StoreError, match="disk full"):
        LocalRunner(work, DATA).run(proposer)
    assert proposer.outcomes == {}


def test_threads_follow_the_cpus_given_and_come_back(proposal, work):
    torch.set_num_threads(3)
    seen = []
    data = Component.of("shapes", {"size": (32, 32), "train": 4, "val": 2})
    proposer = Recorder([proposal(epochs=1, data=data)], on_epoch=lambda *_: seen.append(torch.get_num_threads()))
    LocalRunner(dataclasses.replace(work, cpu=2.5), data).run(proposer)
    assert seen == [2]
    assert torch.get_num_threads() == 3


def test_without_a_share_of_a_gpu_it_is_the_cpu(work):
    assert device(work) == torch.device("cpu")
    assert describe(device(work)).startswith("cpu ")
    granted = device(dataclasses.replace(work, gpu=0.5))
    assert (granted.type == "cuda") == torch.cuda.is_available()


@pytest.mark.slow
def test_a_small_network_learns_the_embedded_data(proposal, work):
    """Well above the best that painting one class can do, in seconds."""
    data = Component.of("shapes", {"size": (64, 64), "train": 64, "val": 16})
    options = {"epochs": 5, "learning_rate": 4e-3, "jitter": 0.0, "scale": (1.0, 1.0)}
    proposer = Recorder([proposal(model="resnet10t", data=data, **options)])
    assert LocalRunner(work, data).run(proposer) is True
    heard = proposer.heard[0]
    assert proposer.outcomes == {0: Finished()}
    assert heard[-1].loss < 0.6 * heard[0].loss
    assert heard[-1].miou > 0.3  # one class everywhere scores below 0.1
    assert heard[-1].miou > heard[0].miou + 0.1
