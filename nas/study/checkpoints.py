"""A checkpoint goes when its trial needs it no more and `keep` does not keep it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Protocol as Interface

from nas.analysis.fronts import front
from nas.propose import Progress
from runners.checkpoint import before_of
from runners.protocol import Epoch, Interrupted, Outcome, Paused, Proposal, Work
from runners.roles import Resuming


class Reporting(Resuming, Interface):
    """A proposer that can hand trials out again, and says how they do."""

    @property
    def progress(self) -> Progress:
        """The results so far."""


class Pruning:
    """A proposer around another one; after each outcome it drops the checkpoints that `keep` does not keep."""

    def __init__(self, inner: Reporting, work: Work, objectives: Mapping[str, str]) -> None:
        self._inner = inner
        self._work = work
        self._objectives = dict(objectives)
        self._kept: set[int] = set()
        self._parents: dict[int, int] = {}  # of trials that have not ended: whose weights they begin with

    def propose(self) -> Proposal | None:
        """As the inner one."""
        return self._noted(self._inner.propose())

    def over(self) -> bool:
        """As the inner one."""
        return self._inner.over()

    def left_over(self) -> Proposal | None:
        """As the inner one."""
        return self._noted(self._inner.left_over())

    def again(self, trial: int) -> Proposal | None:
        """As the inner one."""
        return self._noted(self._inner.again(trial))

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
        """Tell the inner one, then drop what nobody needs any more, such as all that has left the front."""
        self._inner.ended(trial, outcome)
        if isinstance(outcome, Interrupted | Paused):
            return
        # One that was stopped leaves the checkpoint before its last, too.
        before_of(self._work.checkpoint(trial)).unlink(missing_ok=True)
        ended = {trial, self._parents.pop(trial, trial)}
        if self._work.keep in ("last", "all"):
            return
        best = self._best()
        # Where a child was killed before its first checkpoint, another worker begins it again.
        kept = best | set(self._parents.values())
        for gone in (self._kept | ended) - kept:
            shutil.rmtree(self._work.checkpoint(gone).parent, ignore_errors=True)
        self._kept = kept

    def _noted(self, proposal: Proposal | None) -> Proposal | None:
        if proposal is not None and proposal.parent is not None:
            self._parents[proposal.trial] = proposal.parent.trial
        return proposal

    def _best(self) -> set[int]:
        if self._work.keep == "none":
            return set()
        points = self._inner.progress.points
        return {int(row["number"]) for row in front(points, self._objectives, states=None)}
