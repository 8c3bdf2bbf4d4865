"""The processes of one trial: each trains its share, the first reports, and who carries the trial out hears them."""

from __future__ import annotations

import dataclasses
import pickle
import time
import traceback
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol as Interface

import torch

from blocks.errors import RunError, law
from runners.data import dataset
from runners.device import describe, device
from runners.distributed import World
from runners.protocol import Epoch, Finished, Outcome, Proposal, Rejected, Work
from runners.recipe import once


@dataclass(frozen=True, slots=True)
class Job:
    """What each process is told: the trial, how it is carried out here, and the parts of a batch."""

    proposal: Proposal
    work: Work
    parts: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The trial has come to its own end."""

    outcome: Finished | Rejected


@dataclass(frozen=True, slots=True)
class Fault:
    """What a process failed with.

    Args:
        rank: of the process.
        error: pickled; None where that cannot be done.
        text: its traceback.
        at: when, by the clock of its machine; 0 where it died without a word. [s]
    """

    rank: int
    error: bytes | None
    text: str
    at: float = 0.0

    def exception(self) -> Exception:
        """The error as it was raised, with the traceback of its process as the cause."""
        cause = RankError(f"in process {self.rank}:\n{self.text}")
        # It comes from a process of ours, and was tried there.
        last = self.text.strip().splitlines()[-1]
        error: Exception = pickle.loads(self.error) if self.error else (RankError if self.at else LostRankError)(last)
        error.__cause__ = cause
        return error


class RankError(Exception):
    """One of the processes of a trial raised what cannot travel."""


class LostRankError(RankError):
    """One of the processes of a trial died without a word."""


Message = Epoch | Ended | Fault


class Line(Interface):
    """What a process of a trial has of the one that carries the trial out."""

    def tell(self, message: Message) -> None:
        """Send it; the first process tells epochs and the end, any of them its fault."""

    def goes_on(self) -> bool:
        """Wait for the word whether another epoch is wanted. Asked by the first process alone."""


class Crew(Interface):
    """What the one that carries a trial out has of its processes."""

    def hear(self) -> Message:
        """Wait for the next message."""

    def go_on(self) -> None:
        """Ask for another epoch."""

    def stop(self, *, waiting: bool) -> None:
        """End all processes; those that are `waiting` for a word end by themselves."""


def part(job: Job, world: World, where: torch.device, line: Line) -> bool:
    """Be one of the processes of a trial, from its beginning to its end; return False when it failed."""
    try:
        _train(job, world, where, line)
    except Exception as error:
        line.tell(_fault(world.rank, error))
        return False
    return True


def _train(job: Job, world: World, where: torch.device, line: Line) -> None:
    torch.set_num_threads(max(1, int(job.work.cpu / world.size)))
    # Loaders are counted per trial.
    loaders = -(-job.work.loaders // world.size)
    work = dataclasses.replace(job.work, loaders=loaders)
    data = dataset(job.proposal.protocol.data, work.place)
    with closing(once(job.proposal, work, data, where, parts=job.parts, world=world)) as running:
        while True:
            try:
                epoch = next(running)
            except StopIteration as end:
                if world.leads:
                    line.tell(Ended(end.value))
                return
            if world.leads:
                line.tell(epoch)
            if not world.agreed(line.goes_on() if world.leads else True):
                return


def _fault(rank: int, error: Exception) -> Fault:
    text = "".join(traceback.format_exception(error))
    try:
        kept = pickle.dumps(error)
        pickle.loads(kept)
    except Exception:  # whatever an exception of somebody's own happens to raise when it is copied
        return Fault(rank, None, text, time.time())
    return Fault(rank, kept, text, time.time())


def epochs(crew: Crew) -> Generator[Epoch, None, Outcome]:
    """Yield what the first process reports; close the generator to end them all.

    Raises:
        Exception: what one of them failed with, first of all.
    """
    waiting = False
    try:
        while True:
            message = crew.hear()
            if isinstance(message, Fault):
                raise message.exception()
            waiting = True
            if isinstance(message, Ended):
                return message.outcome
            yield message
            crew.go_on()
            waiting = False
    finally:
        crew.stop(waiting=waiting)


def place(work: Work, rank: int) -> torch.device:
    """The device of one process on this machine.

    Raises:
        RunError: there are fewer GPUs.
    """
    if work.gpu == 0:
        return torch.device("cpu")
    found = torch.cuda.device_count()
    if found < work.processes:
        got = {"cuda_gpus": found, "gpu": work.gpu}
        raise RunError(law("resources.per_trial: ddp", "a CUDA GPU for each process", got, "Lower resources.gpu"))
    return torch.device("cuda", rank)


def placed(work: Work) -> tuple[torch.device, str]:
    """Where a trial runs, and how the record says so; with several processes, the GPUs are theirs alone to look at."""
    here = torch.device("cpu") if work.processes > 1 else device(work)
    if work.processes == 1:
        return here, describe(here)
    return here, f"{'cuda' if work.gpu else describe(here)}, {work.processes} processes"
