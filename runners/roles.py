"""Who takes part in a search, and what each promises the others. No torch is imported here."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Protocol

from runners.protocol import Epoch, Outcome, Paused, Proposal, Stopped, Work

if TYPE_CHECKING:
    import torch

    from runners.data import DataSet


class Recipe(Protocol):
    """Trains and evaluates one network: a function that yields each epoch and returns the outcome."""

    def __call__(
        self, proposal: Proposal, work: Work, data: DataSet, device: torch.device, /
    ) -> Generator[Epoch, None, Outcome]: ...


class Proposer(Protocol):
    """Whom a runner asks for work and tells what came of it. Called in the driver, from one thread."""

    def propose(self) -> Proposal | None:
        """The next network to train, or None when there will be no more."""

    def over(self) -> bool:
        """True when the sweep has spent what it may: what is in training is interrupted."""

    def started(self, trial: int, *, host: str, device: str) -> None:
        """A worker has begun with it; a place that is not known yet is empty, and comes with the first epoch."""

    def epoch(self, trial: int, epoch: Epoch) -> None:
        """Recorded before it counts."""

    def retried(self, trial: int, reason: str) -> None:
        """Its worker was lost to no fault of the network's; another goes on from the checkpoint."""

    def ended(self, trial: int, outcome: Outcome) -> None:
        """Called exactly once for each proposal, and once more when a paused trial ends without going on."""


class Resuming(Proposer, Protocol):
    """A proposer that can hand a trial out again, to be continued after the epochs it has."""

    def left_over(self) -> Proposal | None:
        """The next trial that an earlier run left in training, or None when there is no other."""

    def again(self, trial: int) -> Proposal | None:
        """This paused trial, or None when there will be no more."""


class Runner(Protocol):
    """Carries proposals out until the proposer has no more or is over, or a person interrupts."""

    def run(self, proposer: Proposer) -> bool:
        """Return True when it ran to the end, False when a person interrupted; every proposal has ended either way."""


class Stopper(Protocol):
    """Early stopping, whatever the runner: hears each epoch and says whether the trial goes on."""

    def goes_on(self, proposal: Proposal, epoch: Epoch) -> bool:
        """True to train another epoch."""

    def stopped(self, proposal: Proposal, epoch: Epoch) -> Stopped | Paused:
        """The outcome of a trial that does not go on after this epoch."""
