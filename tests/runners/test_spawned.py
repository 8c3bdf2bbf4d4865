"""Trials in two processes of this machine, from the runner down."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal

import pytest
import torch
import torch.distributed as dist

from blocks.errors import RunError
from runners.data import dataset
from runners.local import LocalRunner
from runners.protocol import Failed, Finished, Interrupted, Stopped, Work
from runners.ranks import LostRankError, placed
from runners.recipe import train
from runners.spawned import recipe, spread
from tests.runners.conftest import DATA
from tests.runners.test_local import After, Recorder

CPU = torch.device("cpu")


@pytest.fixture
def pair(work):
    return dataclasses.replace(work, cpu=2.0, per_trial="ddp")


class Tripping(Work):
    """Trips the second process where it would save."""

    @property
    def saves(self):
        if dist.is_initialized() and dist.get_rank() == 1:
            raise ValueError("tripped over a root")
        return True


def files(work):
    return sorted(str(path.relative_to(work.folder)) for path in work.folder.rglob("*") if path.is_file())


def test_processes_are_one_a_gpu_or_one_a_cpu(work):
    def processes(**given):
        return dataclasses.replace(work, **given).processes

    assert processes(cpu=8.0, gpu=4.0) == 1
    assert processes(per_trial="ddp", cpu=8.0, gpu=4.0) == 4
    assert processes(per_trial="ddp", cpu=2.0) == 2
    assert recipe(work) is train


def test_where_a_trial_runs_is_said_without_a_look_at_its_gpus(work):
    four = dataclasses.replace(work, per_trial="ddp", gpu=4.0)
    assert placed(four) == (CPU, "cuda, 4 processes")
    assert placed(dataclasses.replace(four, gpu=0.0, cpu=2.0))[1].endswith(", 2 processes")
    assert placed(work)[1].startswith("cpu")


@pytest.mark.skipif(torch.cuda.device_count() > 15, reason="here there are enough")
def test_more_processes_than_gpus_are_refused(proposal, work):
    many = dataclasses.replace(work, per_trial="ddp", gpu=16.0)
    with pytest.raises(RunError, match=r"a CUDA GPU for each process: got cuda_gpus=\d+, gpu=16"):
        next(spread(proposal(), many, dataset(DATA, {}), CPU))


@pytest.mark.slow
def test_a_trial_that_is_stopped_and_continued_gives_the_numbers_of_one_in_one_go(proposal, pair, numbers):
    whole = Recorder([proposal(0)])
    assert LocalRunner(pair, DATA).run(whole) is True
    assert whole.outcomes == {0: Finished()}
    assert whole.begun[0][1].endswith(", 2 processes")
    assert "2 processes on cpu, each with 2 images of a batch" in whole.heard[0][0].log
    assert files(pair) == ["000000/checkpoint.pt"]

    stopped = Recorder([proposal(1)])
    assert LocalRunner(pair, DATA, After(1)).run(stopped) is True
    assert stopped.outcomes == {1: Stopped(rung=1, missing=0.5)}
    assert multiprocessing.active_children() == []
    continued = Recorder([proposal(1, done=1)])
    assert LocalRunner(pair, DATA).run(continued) is True
    assert continued.outcomes == {1: Finished()}
    assert numbers(stopped.heard[1] + continued.heard[1]) == numbers(whole.heard[0])


@pytest.mark.slow
def test_one_process_that_raises_ends_the_trial_with_its_reason(proposal, pair):
    given = {field.name: getattr(pair, field.name) for field in dataclasses.fields(pair)}
    proposer = Recorder([proposal(0)])
    assert LocalRunner(Tripping(**given), DATA).run(proposer) is True
    outcome = proposer.outcomes[0]
    assert isinstance(outcome, Failed)
    assert outcome.reason == "crash: ValueError: tripped over a root"
    assert "in process 1:" in outcome.traceback
    assert "in saves" in outcome.traceback
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_one_process_that_is_killed_ends_the_others(proposal, pair):
    running = spread(proposal(0, epochs=50), pair, dataset(DATA, {}), CPU)
    next(running)
    os.kill(multiprocessing.active_children()[-1].pid, signal.SIGKILL)
    with pytest.raises(LostRankError, match=r"process \d of 2 died: SIGKILL"):
        for _ in running:
            pass
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_an_interrupt_ends_them_all(proposal, pair):
    def interrupt(trial, epoch):
        raise KeyboardInterrupt

    proposer = Recorder([proposal(0)], interrupt)
    assert LocalRunner(pair, DATA).run(proposer) is False
    assert proposer.outcomes == {0: Interrupted()}
    assert multiprocessing.active_children() == []
