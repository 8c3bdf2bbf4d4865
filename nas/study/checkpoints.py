"""`keep: front`: a checkpoint goes when its trial cannot be on the front any more."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from nas.analysis.fronts import front
from nas.propose import OptunaProposer
from runners.protocol import Epoch, Interrupted, Outcome, Proposal, Work


class Pruning:
    """A proposer around another one; after each outcome it drops the checkpoints that `keep: front` does not keep."""

    def __init__(self, inner: OptunaProposer, work: Work, objectives: Mapping[str, str]) -> None:
        self._inner = inner
        self._work = work
        self._objectives = dict(objectives)
        self._kept: set[int] = set()

    def propose(self) -> Proposal | None:
        """As the inner one."""
        return self._inner.propose()

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
        """Tell the inner one, then drop what has left the front."""
        self._inner.ended(trial, outcome)
        if isinstance(outcome, Interrupted):
            return
        best = {int(row["number"]) for row in front(self._inner.progress.points, self._objectives, states=None)}
        for gone in (self._kept | {trial}) - best:
            shutil.rmtree(self._work.checkpoint(gone).parent, ignore_errors=True)
        self._kept = best
