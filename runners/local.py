"""The runner in this process: one trial after another, for debugging and for a laptop."""

from __future__ import annotations

import logging
import socket
from contextlib import closing

import torch

from blocks.architecture import Component
from runners.data import DataSet, dataset
from runners.deadline import Deadline, interrupting
from runners.device import device, release, threads
from runners.failure import failure
from runners.protocol import Failed, Interrupted, Outcome, Proposal, Work
from runners.ranks import placed
from runners.roles import Proposer, Recipe, Stopper
from runners.spawned import recipe as standard

__all__ = ["LocalRunner", "device"]

_log = logging.getLogger("nas.local")


class LocalRunner:
    """Carries proposals out one by one.

    Args:
        work: how trials are carried out here.
        data: the data set's name and options.
        stopper: early stopping, or None to train everything to its end.
        recipe: trains one network, with the signature of `runners.recipe.train`, which is what None means, in several
            processes where `work` says so.
    """

    def __init__(
        self, work: Work, data: Component, stopper: Stopper | None = None, *, recipe: Recipe | None = None
    ) -> None:
        self._work, self._data, self._stopper = work, data, stopper
        self._recipe = recipe or standard(work)

    def run(self, proposer: Proposer) -> bool:
        """Return True when the proposer had no more, False when a person interrupted.

        Raises:
            DataError: the data set is missing or wrong: no trial could succeed.
            RunError: this machine cannot do what the protocol asks.
        """
        data = dataset(self._data, self._work.place)
        data.fingerprint()  # finds missing files before anything is proposed
        where, _ = placed(self._work)
        with threads(self._work.cpu):
            while (proposal := proposer.propose()) is not None:
                if not self._carry_out(proposal, proposer, data, where):
                    return proposer.over()
        return True

    def _carry_out(self, proposal: Proposal, proposer: Proposer, data: DataSet, where: torch.device) -> bool:
        """Train one proposal and tell how it ended; return False when it was interrupted."""
        hopeless: Exception | None = None
        try:
            proposer.started(proposal.trial, host=socket.gethostname(), device=placed(self._work)[1])
            outcome = self._train(proposal, proposer, data, where)
        except KeyboardInterrupt:
            outcome = Interrupted()
        except _TrialError as error:
            failed = failure(error.cause)
            hopeless = error.cause if failed.hopeless else None
            # That no trial can be trained here says nothing of this one: it is in line again on resume.
            outcome = Interrupted() if hopeless else failed
            _log.warning("trial %d failed: %s", proposal.trial, failed.reason)
        if isinstance(outcome, Failed):
            # The recipe tidied up already, but only here has the traceback let go of the trial's tensors.
            release(where)
        proposer.ended(proposal.trial, outcome)
        if hopeless:
            raise hopeless
        return not isinstance(outcome, Interrupted)

    def _train(self, proposal: Proposal, proposer: Proposer, data: DataSet, where: torch.device) -> Outcome:
        deadline = Deadline(self._work)
        with closing(self._recipe(proposal, self._work, data, where)) as epochs:
            while True:
                try:
                    with interrupting(deadline):
                        epoch = next(epochs)
                except StopIteration as end:
                    outcome: Outcome = end.value
                    return outcome
                except Exception as error:
                    raise _TrialError(error) from error
                deadline.heard()
                proposer.epoch(proposal.trial, epoch)
                if self._stopper and not self._stopper.goes_on(proposal, epoch):
                    return self._stopper.stopped(proposal, epoch)
                if epoch.epoch < proposal.epochs and proposer.over():
                    return Interrupted()


class _TrialError(Exception):
    """Tells what a trial raised from what the proposer raised: the first is data, the second is a bug."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause
