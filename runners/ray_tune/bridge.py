"""The driver's side: Ray asks for work and reports results; a `Proposer` decides and remembers.

Tune pickles its searcher, scheduler and callbacks to save its own state. Ours is elsewhere (the store is the memory),
so a `Bridge` pickles to an empty one, and whatever a proposer holds (engines, locks, open files) never travels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from blocks.errors import RunError
from runners.deadline import Deadline
from runners.protocol import Failed, Interrupted, Outcome, Proposal, Proposer, Stopper, Work


class Bridge:
    """Which of Ray's trials carries which proposal, and that each proposal ends exactly once.

    Args:
        proposer: whom to ask and to tell.
        stopper: early stopping, or None.
        job: what every worker is given beside a proposal.
        work: the limits of a trial, and where it leaves its files.
        concurrent: most trials at once. [count]
    """

    def __init__(
        self, proposer: Proposer, stopper: Stopper | None, job: Mapping[str, object], work: Work, concurrent: int
    ) -> None:
        self._proposer = proposer
        self._work = work
        self._stopper = stopper
        self._job = job
        self._concurrent = concurrent
        self._open: dict[str, Proposal] = {}
        self._heard: set[str] = set()
        self._deadlines: dict[str, Deadline] = {}
        self._hopeless: str | None = None
        self._refused_at: int | None = None  # how many were open when the proposer had nothing
        self.complete = False  # the proposer has no more

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _nothing, ()

    def suggest(self, ray_id: str) -> dict[str, Any] | str | None:
        """Ask the proposer; None while every place is taken, so that the sampler hears results before it proposes.

        Raises:
            RunError: a trial has failed as every other one would. (Tune lets errors through here, not from `result`.)
        """
        if self._hopeless is not None:
            raise RunError(self._hopeless)
        if len(self._open) >= self._concurrent or len(self._open) == self._refused_at:
            return None
        proposal = self._proposer.propose()
        if proposal is None and self._open:
            # Not the end yet: one in training may still turn out not to count. Asked again when the next has ended.
            self._refused_at = len(self._open)
            return None
        if proposal is None:
            self.complete = True
            return Searcher.FINISHED  # type: ignore[no-any-return]
        self._refused_at = None
        self._open[ray_id] = proposal
        return {"proposal": proposal, **self._job}

    def started(self, ray_id: str, host: str = "", device: str = "") -> None:
        """Tell the proposer once where a trial runs."""
        if not host:
            self._deadlines[ray_id] = Deadline(self._work)
        if ray_id in self._open and (not host or ray_id not in self._heard):
            self._proposer.started(self._open[ray_id].trial, host=host, device=device)
            if host:
                self._heard.add(ray_id)

    def result(self, ray_id: str, result: dict[str, Any]) -> str:
        """Record what a worker reports, then decide whether its trial goes on."""
        proposal = self._open.get(ray_id)
        if proposal is None:
            return TrialScheduler.STOP  # type: ignore[no-any-return]
        self.started(ray_id, result.get("host", ""), result.get("device", ""))
        epoch, outcome = result.get("epoch"), result.get("outcome")
        if epoch is not None:
            self._proposer.epoch(proposal.trial, epoch)
            if outcome is None and self._stopper is not None and not self._stopper.goes_on(proposal, epoch):
                outcome = self._stopper.stopped(proposal, epoch)
            if self._stopper is not None:
                # Another point at a rung can let one go on that was paused there.
                self._refused_at = None
            if ray_id in self._deadlines:
                self._deadlines[ray_id].heard()
        if outcome is None and self.over():
            outcome = Interrupted()
        if outcome is None:
            return TrialScheduler.CONTINUE  # type: ignore[no-any-return]
        self.end(ray_id, outcome)
        if isinstance(outcome, Failed) and outcome.hopeless:
            self._hopeless = outcome.reason
        return TrialScheduler.STOP  # type: ignore[no-any-return]

    def end(self, ray_id: str, outcome: Outcome) -> None:
        """Pass an outcome on, unless this trial has ended already."""
        proposal = self._open.pop(ray_id, None)
        self._deadlines.pop(ray_id, None)
        if proposal is not None:
            self._proposer.ended(proposal.trial, outcome)

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

    def interrupt(self) -> int:
        """End what is still open as interrupted and return how many that were."""
        left = list(self._open)
        for ray_id in left:
            self.end(ray_id, Interrupted())
        return len(left)


def _nothing() -> None:
    return None


class AskProposer(Searcher):  # type: ignore[misc]
    """Ray's searcher: hands on what the proposer proposes."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> Any:
        """Return a config, None (not now) or FINISHED."""
        return self._bridge.suggest(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to do: the scheduler heard it first."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the store is the memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class Spent(tune.Stopper):  # type: ignore[misc]
    """Ray's stopper: ends everything when the sweep has spent what it may."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """A single trial is the scheduler's business."""
        return False

    def stop_all(self) -> bool:
        """Asked at every turn of Tune's loop."""
        return self._bridge.over()


class Decide(FIFOScheduler):  # type: ignore[misc]
    """Ray's scheduler: it is the first to hear a result, so recording and early stopping happen here, in this order."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Record, then continue or stop."""
        return self._bridge.result(trial.trial_id, result)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """The last result of a trial comes here instead."""
        self._bridge.result(trial.trial_id, result)


class Watch(Callback):  # type: ignore[misc]
    """Ray's callback: a started trial, and one whose process died."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial) -> None:
        """The worker has been given the trial."""
        self._bridge.started(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial) -> None:
        """The process died, or its GPU is beyond use."""
        text = _error_text(trial)
        if (hung := self._bridge.hung(trial.trial_id)) is not None:
            self._bridge.end(trial.trial_id, hung)
            return
        reason = "the worker process died: killed, out of memory, or crashed in native code"
        if "CUDA error" in text:
            reason = next(line.strip() for line in text.splitlines() if "CUDA error" in line)
        self._bridge.end(trial.trial_id, Failed(reason=reason, traceback=text))


def _error_text(trial: Trial) -> str:
    # Tune keeps the error beside the trial before it calls back; `Trial.get_error` would look in remote storage.
    file = Path(trial.error_file) if trial.error_file else None
    return file.read_text() if file is not None and file.exists() else ""
