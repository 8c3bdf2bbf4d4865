"""The runner without a machine: it replays recorded learning curves under a virtual clock.

Proposer and stopper are those of a real sweep and cannot tell the difference, so that a sampler, an early stopping and
a budget can be tried in seconds.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runners.protocol import Epoch, Failed, Finished, Interrupted, Outcome, Proposal, Rejected
from runners.roles import Proposer, Stopper

__all__ = ["Curve", "Moment", "SimulatedRunner"]

Curve = Callable[[Proposal], Sequence[Epoch] | None]
"""Gives the recorded epochs of a network, from the first one on, or None where it was never trained."""


@dataclass(frozen=True, slots=True)
class Moment:
    """An epoch is over, or a trial.

    Args:
        seconds: on the virtual clock. [s]
        epochs: that all trials together have been trained for by now. [count]
        trial: whose moment it is.
        outcome: how it ended, or None while it goes on.
    """

    seconds: float
    epochs: int
    trial: int
    outcome: Outcome | None = None


class SimulatedRunner:
    """Carries proposals out by looking them up.

    A proposal that was never recorded fails at once and takes no time; so does one whose record ends before its
    schedule does and before the stopper says so. Failed is what the sampler hears: nothing is made up for it.

    Args:
        curve: looks the recorded epochs of a proposal up.
        stopper: early stopping, or None to replay everything to its end.
        workers: trials at once. [count]
        epochs: what may be trained in all: then the search is over, and what is in training is interrupted. [count]
        watch: called after each epoch and each end, in the order of the virtual clock.
    """

    def __init__(
        self,
        curve: Curve,
        stopper: Stopper | None = None,
        *,
        workers: int = 1,
        epochs: int | None = None,
        watch: Callable[[Moment], None] = lambda moment: None,
    ) -> None:
        self._curve = curve
        self._stopper = stopper
        self._workers = workers
        self._most = math.inf if epochs is None else epochs
        self._watch = watch
        self._seconds = 0.0
        self._epochs = 0
        self._order = itertools.count()
        self._running: list[tuple[float, int, _Replay]] = []  # a heap: when the epoch in hand is over

    def run(self, proposer: Proposer) -> bool:
        """Return True when the proposer or the epochs had no more, False when a person interrupted."""
        try:
            self._fill(proposer)
            while self._running and self._epochs < self._most and not proposer.over():
                # It stays in the heap until its epoch is reported: an interrupt in between must find it there.
                self._seconds, _, replay = self._running[0]
                outcome = self._advance(replay, proposer)
                heapq.heappop(self._running)
                if outcome is None:
                    self._schedule(replay)
                else:
                    self._end(replay.proposal, outcome, proposer)
                    self._fill(proposer)
        except KeyboardInterrupt:
            self._interrupt(proposer)
            return False
        self._interrupt(proposer)
        return True

    def _interrupt(self, proposer: Proposer) -> None:
        for _, _, replay in self._running:
            self._end(replay.proposal, Interrupted(), proposer)

    def _fill(self, proposer: Proposer) -> None:
        """Give every idle worker a proposal; without one now, it asks again when the next trial has ended."""
        while len(self._running) < self._workers and (proposal := proposer.propose()) is not None:
            proposer.started(proposal.trial, host="simulated", device="none")
            epochs = self._curve(proposal)
            replay = _Replay(proposal, epochs or (), proposal.done)
            refusal = _refusal(proposal, epochs) or replay.ending()
            if refusal is None:
                self._schedule(replay)
            else:
                self._end(proposal, refusal, proposer)

    def _schedule(self, replay: _Replay) -> None:
        over = self._seconds + replay.epochs[replay.done].seconds
        heapq.heappush(self._running, (over, next(self._order), replay))

    def _advance(self, replay: _Replay, proposer: Proposer) -> Outcome | None:
        """Report the epoch that is over, and say how the trial ends if it does."""
        epoch = replay.epochs[replay.done]
        replay.done += 1
        self._epochs += 1
        proposer.epoch(replay.proposal.trial, epoch)
        self._watch(Moment(self._seconds, self._epochs, replay.proposal.trial))
        if self._stopper is not None and not self._stopper.goes_on(replay.proposal, epoch):
            return self._stopper.stopped(replay.proposal, epoch)
        return replay.ending()

    def _end(self, proposal: Proposal, outcome: Outcome, proposer: Proposer) -> None:
        proposer.ended(proposal.trial, outcome)
        self._watch(Moment(self._seconds, self._epochs, proposal.trial, outcome))


@dataclass(slots=True)
class _Replay:
    """A proposal in hand and how far it is."""

    proposal: Proposal
    epochs: Sequence[Epoch]
    done: int

    def ending(self) -> Outcome | None:
        """The outcome where there is no further epoch to replay."""
        if self.done >= self.proposal.epochs:
            return Finished()
        if self.done < len(self.epochs):
            return None
        return Failed(reason=f"the recorded curve ends after epoch {self.done} of {self.proposal.epochs}")


def _refusal(proposal: Proposal, epochs: Sequence[Epoch] | None) -> Outcome | None:
    """What a worker would say before the first step: a limit is exceeded, or there is nothing to replay."""
    if not epochs:
        return Failed(reason="no learning curve is recorded for this network")
    for name, allowed in proposal.limits.items():
        value = getattr(epochs[0], name)
        if value is not None and value > allowed:
            return Rejected(name, float(value), allowed)
    return None
