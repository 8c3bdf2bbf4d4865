"""The driver's side: Ray asks for work and reports results; a `Proposer` decides and remembers.

Tune pickles its searcher, scheduler and callbacks to save its own state. Ours is elsewhere (the store is the memory),
so a `Bridge` pickles to an empty one, and whatever a proposer holds (engines, locks, open files) never travels.
"""

from __future__ import annotations

import pickle
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from blocks.errors import RunError, law
from runners.protocol import Failed, Interrupted, Outcome, Proposal, Proposer, Stopper

_WATCH_SECONDS = 5.0


class Bridge:
    """Which of Ray's trials carries which proposal, and that each proposal ends exactly once."""

    def __init__(self, proposer: Proposer, stopper: Stopper | None, job: Mapping[str, object], concurrent: int) -> None:
        self._proposer = proposer
        self._stopper = stopper
        self._job = job
        self._concurrent = concurrent
        self._open: dict[str, Proposal] = {}
        self._heard: set[str] = set()
        self._recorded: dict[int, int] = {}  # trial -> its last epoch that was recorded
        self._lost: list[Proposal] = []  # to be carried out again, on another worker
        self._retried: set[int] = set()
        self._broken: Exception | None = None
        self._refused_at: int | None = None  # how many were open when the proposer last had nothing
        self.complete = False  # the proposer has no more
        self.interrupted = False  # some proposals were cut short

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _nothing, ()

    def suggest(self, ray_id: str) -> dict[str, Any] | str | None:
        """Ask the proposer; None while every place is taken, so that the sampler hears results before it proposes.

        Raises:
            NasError: see `check`.
        """
        self.check()
        if len(self._open) >= self._concurrent:
            return None
        if self._lost:
            return self._handed(ray_id, self._lost.pop(0))
        if len(self._open) == self._refused_at:
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
        return self._handed(ray_id, proposal)

    def _handed(self, ray_id: str, proposal: Proposal) -> dict[str, Any]:
        self._open[ray_id] = proposal
        return {"proposal": proposal, **self._job}

    def check(self) -> None:
        """Let through what ended the sweep; Tune itself swallows what is raised while it hears a result.

        Raises:
            NasError: the store cannot be written, or a trial has failed as every other one would.
        """
        if self._broken is not None:
            raise self._broken

    def started(self, ray_id: str, host: str = "", device: str = "") -> None:
        """Tell the proposer once where a trial runs."""
        if ray_id in self._open and (not host or ray_id not in self._heard):
            self._proposer.started(self._open[ray_id].trial, host=host, device=device)
            if host:
                self._heard.add(ray_id)

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
        self.started(ray_id, result.get("host", ""), result.get("device", ""))
        epoch, outcome = result.get("epoch"), result.get("outcome")
        if epoch is not None:
            self._proposer.epoch(proposal.trial, epoch)
            self._recorded[proposal.trial] = epoch.epoch
            if outcome is None and self._stopper is not None and not self._stopper.goes_on(proposal, epoch):
                outcome = self._stopper.stopped(proposal, epoch)
        if outcome is None:
            return TrialScheduler.CONTINUE  # type: ignore[no-any-return]
        self.end(ray_id, outcome)
        if isinstance(outcome, Failed) and outcome.hopeless:
            self._broken = RunError(outcome.reason)
        return TrialScheduler.STOP  # type: ignore[no-any-return]

    def end(self, ray_id: str, outcome: Outcome) -> None:
        """Pass an outcome on, unless this trial has ended already."""
        proposal = self._open.pop(ray_id, None)
        if proposal is not None:
            self._proposer.ended(proposal.trial, outcome)

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
            self._retried.add(proposal.trial)
            self._proposer.retried(proposal.trial, death(text))
            self._lost.append(replace(proposal, done=self._recorded.get(proposal.trial, proposal.done)))
        except Exception as error:
            self._broken = error

    def interrupt(self) -> None:
        """End what is still open as interrupted."""
        for number, proposal in enumerate(self._lost):
            self._open[f"lost {number}"] = proposal
        self._lost.clear()
        for ray_id in list(self._open):
            self.interrupted = True
            self.end(ray_id, Interrupted())


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
    """Ray's callback: a started trial, one whose process died, and a Ray that died.

    Args:
        bridge: to tell.
        own: this Ray was started by us, on this machine alone.
    """

    def __init__(self, bridge: Bridge, *, own: bool) -> None:
        self._bridge = bridge
        self._own = own
        self._looked = time.monotonic()
        self._signalled = False

    def setup(self, **info: Any) -> None:
        """Hear of Ctrl-C, and of SIGTERM, which comes as one, before Tune does."""
        if threading.current_thread() is not threading.main_thread():
            return
        tunes = signal.getsignal(signal.SIGINT)

        def handle(number: int, frame: FrameType | None) -> None:
            self._signalled = True
            if callable(tunes):
                # It puts back the handler that was there before Tune.
                tunes(number, frame)

        signal.signal(signal.SIGINT, handle)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tune's loop is about to end where a signal has come: record that, and wait for nobody's epoch."""
        if not self._signalled:
            return
        self._bridge.interrupt()
        for trial in trials:
            if trial.temporary_state.ray_actor is not None:
                ray.kill(trial.temporary_state.ray_actor)

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tune's loop turns: the one place where an error ends it at once."""
        self._bridge.check()
        if self._own and time.monotonic() - self._looked > _WATCH_SECONDS:
            self._looked = time.monotonic()
            if not any(node["Alive"] for node in ray.nodes()):
                # Tune would wait for ever for a place to open.
                got = {"nodes_alive": 0}
                raise RunError(law("Ray", "its raylet process", got, "It was killed: go on with --resume"))

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial) -> None:
        """The worker has been given the trial."""
        self._bridge.started(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial) -> None:
        """The process died, or its GPU is beyond use."""
        text = _read(trial.error_file).decode(errors="replace")
        kept = _read(trial.pickled_error_file)
        self._bridge.lost(trial.trial_id, text, machines=is_machines(pickle.loads(kept) if kept else None, text))


def is_machines(error: Exception | None, text: str) -> bool:
    """Tell whether an error looks like the machine's fault, so that another worker may do better.

    Whatever a network raises reaches us as a result. What is left is a lost process, and a GPU that answers no more:
    the machine's fault, unless a kernel found the network's or the data's numbers impossible.
    """
    if "CUDA error" in text:
        return "device-side assert" not in text
    return isinstance(error, RayActorError) or "running low on memory" in text


def death(text: str) -> str:
    """Why a worker died, in one line."""
    for line in text.splitlines():
        if "CUDA error" in line:
            return line.strip()
    return "the worker process died: killed, out of memory, or crashed in native code"


def _read(file: str | None) -> bytes:
    # Tune keeps an error beside the trial before it calls back; `Trial.get_error` would look in remote storage.
    path = Path(file) if file else None
    return path.read_bytes() if path is not None and path.exists() else b""
