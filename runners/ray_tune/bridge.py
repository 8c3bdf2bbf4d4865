"""The driver's side: Ray asks for work and reports results; a `Proposer` decides and remembers.

Tune pickles its searcher, scheduler and callbacks to save its own state. Ours is elsewhere (the store is the memory),
so a `Bridge` pickles to an empty one, and whatever a proposer holds (engines, locks, open files) never travels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from blocks.errors import RunError
from runners.deadline import Deadline
from runners.packing import Packing
from runners.protocol import Failed, Interrupted, Outcome, Proposal, Work
from runners.roles import Proposer, Stopper


class Bridge:
    """Which of Ray's trials carries which proposal, and that each proposal ends exactly once.

    Args:
        proposer: whom to ask and to tell.
        stopper: early stopping, or None.
        job: what every worker is given beside a proposal.
        work: the limits of a trial, and where it leaves its files.
        concurrent: most trials at once. [count]
        packing: grants shares of GPUs, or None where every trial gets the same.
    """

    def __init__(
        self,
        proposer: Proposer,
        stopper: Stopper | None,
        job: Mapping[str, object],
        work: Work,
        concurrent: int,
        *,
        packing: Packing | None = None,
    ) -> None:
        self._proposer = proposer
        self._work = work
        self._stopper = stopper
        self._job = job
        self._concurrent = concurrent
        self._packing = packing
        self._open: dict[str, Proposal] = {}
        self._recorded: dict[int, int] = {}  # trial -> its last epoch that was recorded
        self._lost: list[Proposal] = []  # to be carried out again, on another worker
        self._retried: set[int] = set()
        self._broken: Exception | None = None
        self._deadlines: dict[str, Deadline] = {}
        self._refused_at: int | None = None  # how many were open when the proposer had nothing
        self.complete = False  # the proposer has no more
        self.interrupted = False  # some proposals were cut short
        self._ending = False  # nothing more is begun

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _nothing, ()

    def suggest(self, ray_id: str) -> dict[str, Any] | str | None:
        """Ask the proposer; None while every place is taken, so that the sampler hears results before it proposes.

        Raises:
            NasError: see `check`.
        """
        self.check()
        refused = len(self._open) == self._refused_at and not self._lost
        if refused or len(self._open) >= self._concurrent or (self._packing is not None and self._packing.full):
            return None
        if self.complete:
            return Searcher.FINISHED  # type: ignore[no-any-return]
        if self._lost:
            return self._handed(ray_id, self._lost.pop(0))
        proposal = self._proposer.propose()
        if proposal is None and self._open:
            # Not the end yet: one in training may still turn out not to count. Asked again when the next has ended.
            self._refused_at = len(self._open)
            return None
        if proposal is None:
            self.complete = True
            return Searcher.FINISHED  # type: ignore[no-any-return]
        self._refused_at = None
        return self._handed(ray_id, proposal)

    def following(self, ray_id: str) -> dict[str, Any] | None:
        """Ask for what a worker goes on with whose network has ended, so that Tune need not set up another trial.

        None where it has not ended, where there is nothing (now), and where the next may need another share of a GPU.
        """
        if ray_id in self._open or self._packing is not None or self._ending or self._broken is not None:
            return None
        try:
            config = self.suggest(ray_id)
            if not isinstance(config, dict):
                return None
            self.started(ray_id)
        except Exception as error:
            self._broken = error
            return None
        return config

    def _handed(self, ray_id: str, proposal: Proposal) -> dict[str, Any]:
        self._open[ray_id] = proposal
        if self._packing is None:
            return {"proposal": proposal, **self._job}
        return {"proposal": proposal, **self._job, "work": replace(self._work, gpu=self._packing.grant(proposal))}

    def check(self) -> None:
        """Let through what ended the sweep; Tune itself swallows what is raised while it hears a result.

        Raises:
            NasError: the store cannot be written, or a trial has failed as every other one would.
        """
        if self._broken is not None:
            raise self._broken

    def started(self, ray_id: str) -> None:
        """Tell the proposer that a worker has a trial; where it runs comes with its first result."""
        self._deadlines[ray_id] = Deadline(self._work)
        if ray_id in self._open:
            self._proposer.started(self._open[ray_id].trial, host="", device="")

    def result(self, ray_id: str, result: dict[str, Any]) -> str:
        """Record what a worker reports, then decide whether its trial goes on."""
        proposal = self._open.get(ray_id)
        if proposal is None or self._broken is not None:
            return TrialScheduler.STOP  # type: ignore[no-any-return]
        try:
            return self._heard_of(ray_id, proposal, result)
        except Exception as error:
            self._broken = error
            return TrialScheduler.STOP  # type: ignore[no-any-return]

    def _heard_of(self, ray_id: str, proposal: Proposal, result: Mapping[str, Any]) -> str:
        epoch, outcome = result.get("epoch"), result.get("outcome")
        if epoch is None and proposal.trial not in self._recorded:
            # It ends before its first epoch, which would have said where.
            self._proposer.started(proposal.trial, host=result.get("host", ""), device=result.get("device", ""))
        if epoch is not None:
            self._proposer.epoch(proposal.trial, epoch)
            self._recorded[proposal.trial] = epoch.epoch
            if self._packing is not None:
                self._packing.measured(proposal, epoch)
            # It hears the last epoch, too, though that one comes with its outcome.
            ahead = self._stopper is None or self._stopper.goes_on(proposal, epoch)
            if outcome is None and self._stopper is not None and not ahead:
                outcome = self._stopper.stopped(proposal, epoch)
            if ray_id in self._deadlines:
                self._deadlines[ray_id].heard()
            if self._stopper is not None:
                # Another point at a rung can let one go on that was paused there.
                self._refused_at = None
        if outcome is None and self.over():
            outcome = Interrupted()
        if outcome is None:
            return TrialScheduler.CONTINUE  # type: ignore[no-any-return]
        if isinstance(outcome, Failed) and outcome.hopeless:
            self._broken = RunError(outcome.reason)
            # That no trial can be trained here says nothing of this one: it is in line again on resume.
            outcome = Interrupted()
        self.end(ray_id, outcome)
        return TrialScheduler.STOP  # type: ignore[no-any-return]

    def end(self, ray_id: str, outcome: Outcome) -> None:
        """Pass an outcome on, unless this trial has ended already."""
        proposal = self._open.pop(ray_id, None)
        self._deadlines.pop(ray_id, None)
        if proposal is not None:
            self._release(proposal)
            self._proposer.ended(proposal.trial, outcome)

    def _release(self, proposal: Proposal) -> None:
        if self._packing is not None:
            self._packing.release(proposal)

    def over(self) -> bool:
        """The sweep has spent what it may."""
        return self._proposer.over()

    def hung(self, ray_id: str) -> Failed | None:
        """The outcome of a trial whose worker ended itself because no epoch came in time."""
        proposal, deadline = self._open.get(ray_id), self._deadlines.get(ray_id)
        reason = deadline.passed() if deadline is not None else ""
        if proposal is None or not reason:
            return None
        traces = self._work.traces(proposal.trial)
        return Failed(reason=reason, traceback=traces.read_text() if traces.exists() else "")

    def lost(self, ray_id: str, text: str, *, machines: bool) -> None:
        """A worker process died: where it was the machine's fault, another one goes on with its trial, once."""
        proposal = self._open.get(ray_id)
        if proposal is None or self._broken is not None:
            return
        try:
            if proposal.trial in self._retried or not machines:
                self.end(ray_id, Failed(reason=death(text), traceback=text))
                return
            del self._open[ray_id]
            self._release(proposal)
            self._deadlines.pop(ray_id, None)
            self._retried.add(proposal.trial)
            self._proposer.retried(proposal.trial, death(text))
            self._lost.append(replace(proposal, done=self._recorded.get(proposal.trial, proposal.done)))
        except Exception as error:
            self._broken = error

    def interrupt(self) -> None:
        """End what is still open as interrupted."""
        self._ending = True
        for number, proposal in enumerate(self._lost):
            self._open[f"lost {number}"] = proposal
        self._lost.clear()
        for ray_id in list(self._open):
            self.interrupted = True
            self.end(ray_id, Interrupted())


def _nothing() -> None:
    return None


def death(text: str) -> str:
    """Why a worker died, in one line."""
    for line in text.splitlines():
        if "CUDA error" in line:
            return line.strip()
    return "the worker process died: killed, out of memory, or crashed in native code"
