"""Trials in two processes of Ray Train inside Ray Tune."""

from __future__ import annotations

import dataclasses

import pytest

from runners.protocol import Finished, Stopped
from tests.runners.conftest import DATA
from tests.runners.test_local import Recorder


class FirstTrialOnce:
    """Stops trial 0 after its first epoch."""

    def goes_on(self, proposal, epoch):
        return proposal.trial != 0 or epoch.epoch > 1

    def stopped(self, proposal, epoch):
        return Stopped(rung=epoch.epoch, missing=0.5)


@pytest.fixture
def ray_with_two_cpus(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # stay on loopback
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture
def pair(work):
    return dataclasses.replace(work, cpu=2.0, per_trial="ddp")


def test_what_each_process_asks_of_ray_is_never_more_than_the_trial_was_granted(work):
    from runners.ray_tune.train import share

    three = dataclasses.replace(work, cpu=1.0, gpu=3.0, per_trial="ddp")
    assert share(three) == {"CPU": 0.3333, "GPU": 1.0}
    assert share(dataclasses.replace(work, cpu=2.0, per_trial="ddp")) == {"CPU": 1.0}


@pytest.mark.ray
@pytest.mark.slow
def test_a_trial_stops_another_takes_its_cpus_and_the_first_is_continued(proposal, pair, ray_with_two_cpus, numbers):
    from runners.ray_tune import RayRunner

    proposer = Recorder([proposal(0), proposal(1)])
    assert RayRunner(pair, DATA, FirstTrialOnce()).run(proposer) is True
    assert proposer.outcomes == {0: Stopped(rung=1, missing=0.5), 1: Finished()}
    assert proposer.heard[1][0].device.endswith(", 2 processes")
    assert "2 processes on cpu" in proposer.heard[1][0].log

    continued = Recorder([proposal(0, done=1)])
    assert RayRunner(pair, DATA).run(continued) is True
    assert continued.outcomes == {0: Finished()}
    assert numbers(proposer.heard[0] + continued.heard[0]) == numbers(proposer.heard[1])
    files = sorted(str(path.relative_to(pair.folder)) for path in pair.folder.rglob("*") if path.is_file())
    assert files == ["000000/checkpoint.pt", "000001/checkpoint.pt"]
