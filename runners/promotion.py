"""Paused trials: which one goes on, and what becomes of the others."""

from __future__ import annotations

from runners.halving import ParetoHalving
from runners.protocol import Epoch, Outcome, Proposal, Stopped
from runners.roles import Resuming


class Promotion:
    """A proposer around another one: a paused trial that early stopping now lets go on comes before a new one.

    A runner need not know: to it, a promoted trial is a proposal that begins after the epochs it has. When there is
    nothing left to propose or to wait for, what is still paused ends as stopped.

    Args:
        inner: proposes, and remembers.
        stopper: decides.
    """

    def __init__(self, inner: Resuming, stopper: ParetoHalving) -> None:
        self._inner = inner
        self._stopper = stopper
        self._open: set[int] = set()

    def propose(self) -> Proposal | None:
        """Return a promoted trial, else a new one, or None when there is neither (yet, while others are in training).

        One that an earlier run left at a rung is judged there first.
        """
        while (proposal := self._next()) is not None:
            outcome = self._stopper.comes_back(proposal)
            if outcome is None:
                self._open.add(proposal.trial)
                return proposal
            self._inner.ended(proposal.trial, outcome)
        # A sweep that has spent what it may can be resumed, and what is paused with it.
        if not self._open and not self.over():
            self._give_up(self._stopper.rest())
        return None

    def over(self) -> bool:
        """As the inner one."""
        return self._inner.over()

    def started(self, trial: int, *, host: str, device: str) -> None:
        """As the inner one."""
        self._inner.started(trial, host=host, device=device)

    def epoch(self, trial: int, epoch: Epoch) -> None:
        """As the inner one."""
        self._inner.epoch(trial, epoch)

    def retried(self, trial: int, reason: str) -> None:
        """As the inner one."""
        self._inner.retried(trial, reason)

    def ended(self, trial: int, outcome: Outcome) -> None:
        """Tell the inner one, and of those that can never be promoted now."""
        self._open.discard(trial)
        self._inner.ended(trial, outcome)
        self._give_up(self._stopper.lost())

    def _next(self) -> Proposal | None:
        if self.over():
            return None
        # First what was in training, so that an interrupted sweep takes the decisions of an undisturbed one.
        left_over = self._inner.left_over()
        if left_over is not None:
            return left_over
        trial = self._stopper.promotable()
        if trial is None:
            return self._inner.propose()
        proposal = self._inner.again(trial)
        if proposal is not None:
            self._stopper.promote(trial)
        return proposal

    def _give_up(self, left: list[tuple[int, Stopped]]) -> None:
        for trial, stopped in left:
            self._inner.ended(trial, stopped)
