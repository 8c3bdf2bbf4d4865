"""A trial that takes too long, or hangs, is ended and says so."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time

import pytest

from blocks.architecture import Component
from runners.deadline import Deadline, TimedOut, interrupting
from runners.failure import failure
from runners.local import LocalRunner
from runners.protocol import Epoch, Failed, Finished, Interrupted

DATA = Component.of("shapes", {"size": (32, 32), "train": 20, "val": 6})


class Recorder:
    """A proposer that hands out a list and may be over after some epochs."""

    def __init__(self, proposals, most_epochs=10**9):
        self._left, self._most = list(proposals), most_epochs
        self.heard, self.outcomes = {}, {}

    def propose(self):
        return self._left.pop(0) if self._left and not self.over() else None

    def over(self):
        return sum(map(len, self.heard.values())) >= self._most

    def started(self, trial, *, host, device):
        self.heard[trial] = []

    def epoch(self, trial, epoch):
        self.heard[trial].append(epoch.epoch)

    def ended(self, trial, outcome):
        assert trial not in self.outcomes
        self.outcomes[trial] = outcome


def epoch_of(number):
    return Epoch(
        epoch=number,
        loss=1.0,
        miou=0.5,
        pixel_accuracy=0.5,
        class_iou=(),
        learning_rate=0.1,
        seconds=0.0,
        train_memory_bytes=0,
    )


def hanging(proposal, work, data, device):
    """A recipe: the trial with number 0 hangs after its first epoch."""
    for number in range(1, proposal.epochs + 1):
        if proposal.trial == 0 and number == 2:
            time.sleep(3600)
        yield epoch_of(number)
    return Finished()


def test_the_limit_that_comes_first_is_named(work):
    now = 0.0
    deadline = Deadline(dataclasses.replace(work, trial_seconds=100.0, stalled_seconds=30.0), lambda: now)
    assert deadline.left() == (30.0, "timeout: no epoch for 0.5 min")
    now = 20.0
    deadline.heard()
    assert deadline.left() == (30.0, "timeout: no epoch for 0.5 min")
    now = 90.0
    deadline.heard()
    assert deadline.left() == (10.0, "timeout: in training for 1.66667 min")
    assert not deadline.passed()
    now = 100.0
    assert deadline.passed() == "timeout: in training for 1.66667 min"


def test_without_limits_there_is_no_end(work):
    assert Deadline(work, lambda: 1e9).left() is None


def test_a_hang_is_interrupted_and_other_timers_go_on(work):
    deadline = Deadline(dataclasses.replace(work, stalled_seconds=0.05))
    before = signal.getsignal(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        with pytest.raises(TimedOut, match="no epoch for"), interrupting(deadline):
            time.sleep(60)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1000
        assert signal.getsignal(signal.SIGALRM) is before
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_a_timeout_is_a_failure_of_this_trial_alone():
    found = failure(TimedOut("timeout: no epoch for 5 min"))
    assert found.reason == "timeout: no epoch for 5 min"
    assert not found.hopeless


def test_the_local_runner_ends_a_trial_that_hangs_and_goes_on(proposal, work):
    # The recipe is the one part that has to misbehave; the runner, its timer and the data are real.
    proposer = Recorder([proposal(0), proposal(1)])
    assert LocalRunner(dataclasses.replace(work, stalled_seconds=3.0), DATA, recipe=hanging).run(proposer) is True
    assert isinstance(proposer.outcomes[0], Failed)
    assert proposer.outcomes[0].reason.startswith("timeout: no epoch for")
    assert "time.sleep" in proposer.outcomes[0].traceback
    assert proposer.outcomes[1] == Finished()


def test_the_local_runner_stops_between_epochs_when_the_sweep_is_over(proposal, work):
    proposer = Recorder([proposal(1, epochs=3), proposal(2, epochs=3), proposal(3)], most_epochs=4)
    assert LocalRunner(work, DATA, recipe=hanging).run(proposer) is True
    assert proposer.outcomes == {1: Finished(), 2: Interrupted()}
    last = Recorder([proposal(1, epochs=3), proposal(2)], most_epochs=3)
    assert LocalRunner(work, DATA, recipe=hanging).run(last) is True
    assert last.outcomes == {1: Finished()}, "what has trained to its end is finished"


NATIVE = """
import ctypes, sys
from pathlib import Path
from runners.deadline import Deadline, exiting
from runners.protocol import Work
work = Work(place={}, folder=Path(sys.argv[1]), stalled_seconds=0.5)
with exiting(Deadline(work), work.traces(7)):
    ctypes.PyDLL(None).sleep(3600)  # native code that never gives the interpreter back
"""


def test_a_process_that_hangs_in_native_code_ends_itself_and_says_where(tmp_path):
    done = subprocess.run([sys.executable, "-c", NATIVE, str(tmp_path)], timeout=120, check=False)
    assert done.returncode == 1
    assert 'File "<string>", line 8' in (tmp_path / "000007" / "hang.txt").read_text()


@pytest.mark.ray
@pytest.mark.slow
def test_ray_ends_a_worker_that_hangs_and_goes_on(proposal, work):
    from runners.ray_tune import RayRunner

    proposer = Recorder([proposal(0), proposal(1), proposal(2)])
    limited = dataclasses.replace(work, stalled_seconds=20.0, concurrent=1)
    assert RayRunner(limited, DATA, recipe=hanging).run(proposer) is True
    assert isinstance(proposer.outcomes[0], Failed)
    assert proposer.outcomes[0].reason.startswith("timeout: no epoch for")
    assert "in hanging" in proposer.outcomes[0].traceback
    assert (proposer.outcomes[1], proposer.outcomes[2]) == (Finished(), Finished())


@pytest.mark.ray
@pytest.mark.slow
def test_ray_interrupts_what_is_in_training_when_the_sweep_is_over(proposal, work):
    from runners.ray_tune import RayRunner

    proposer = Recorder([proposal(1, epochs=1), proposal(0), proposal(2)], most_epochs=2)
    assert RayRunner(dataclasses.replace(work, concurrent=1), DATA, recipe=hanging).run(proposer) is True
    assert proposer.outcomes == {1: Finished(), 0: Interrupted()}
    clock = Recorder([proposal(0), proposal(1)])
    clock.over = lambda: 0 in clock.heard and bool(clock.heard[0])  # and its second epoch never comes
    assert RayRunner(dataclasses.replace(work, concurrent=1), DATA, recipe=hanging).run(clock) is True
    assert clock.outcomes == {0: Interrupted()}
