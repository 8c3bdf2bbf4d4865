"""Where Tune calls us: its searcher, scheduler and callback, each of which passes on to the bridge."""

from __future__ import annotations

import pickle
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayActorError
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from blocks.errors import RunError, law
from runners.ray_tune.bridge import Bridge

_WATCH_SECONDS = 5.0  # between two looks at whether Ray lives


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
    """Ray's scheduler: it is the first to hear a result, so recording and early stopping happen here, in this order.

    A trial of Tune's carries one network after another, as long as there is a next one for its place: to set up another
    trial takes Tune as long as the rest of its work, and when it ends, it writes down every trial that it ever had.
    """

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Record, then continue with this network or the next, or stop."""
        decision = self._bridge.result(trial.trial_id, result)
        if decision == self.STOP and (config := self._bridge.following(trial.trial_id)) is not None:
            # An actor does what one caller asks in the order in which it asks: this comes before the next step.
            trial.temporary_state.ray_actor.take.remote(config)
            return self.CONTINUE  # type: ignore[no-any-return]
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """The last result of a trial comes here, too."""
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
        if (hung := self._bridge.hung(trial.trial_id)) is not None:
            self._bridge.end(trial.trial_id, hung)
            return
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
    return isinstance(error, RayActorError) or "running low on memory" in text or "LostRankError" in text


def _read(file: str | None) -> bytes:
    # Tune keeps an error beside the trial before it calls back; `Trial.get_error` would look in remote storage.
    path = Path(file) if file else None
    return path.read_bytes() if path is not None and path.exists() else b""
