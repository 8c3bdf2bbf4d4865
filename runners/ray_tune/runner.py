"""Start or join a Ray, let Tune schedule the proposals, and leave nothing behind."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from blocks.architecture import Component
from blocks.errors import RunError, law
from runners.packing import SHARES, Packing
from runners.protocol import Work
from runners.roles import Proposer, Recipe, Stopper

# Ray's telemetry, loggers and result files would cost more per trial than the scheduling itself.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# Read when ray is first imported: without it Ray turns 127.0.0.1 into the machine's outside address.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_HEARING_BYTES = 256 << 20
_LOGGERS = ("ray", "ray.tune", "ray.air", "ray.air.execution")


class RayRunner:
    """Carry proposals out with Ray Tune, one warm worker per place.

    Args:
        work: resources per trial, folders, early stopping's objectives.
        data: the data set that workers open.
        stopper: early stopping, or None.
        address: of a running Ray cluster (`auto`, `host:port`, `ray://...`); None starts one on loopback and stops it.
        recipe: trains one network, with the signature of `runners.recipe.train`, which is what None means.
    """

    def __init__(
        self,
        work: Work,
        data: Component,
        stopper: Stopper | None = None,
        *,
        address: str | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        self._work = work
        self._data = data
        self._stopper = stopper
        self._address = address
        self._recipe = recipe

    def run(self, proposer: Proposer) -> bool:
        """Return True when the proposer had no more, False when a person interrupted.

        Raises:
            RunError: no node offers what one trial asks for, or the cluster does not answer.
        """
        quiet = _QUIET | (_token() if self._address else _LOOPBACK)
        with _environment(quiet), _scratch() as scratch, _cluster(self._address, scratch):
            # Not before the environment is set: ray reads it as it is imported.
            import ray
            from ray import tune

            from runners.ray_tune.bridge import Bridge
            from runners.ray_tune.gpus import gpu_bytes
            from runners.ray_tune.hooks import AskProposer, Decide, Spent, Watch
            from runners.ray_tune.worker import Worker

            job = {"work": self._work, "data": self._data, "recipe": self._recipe}
            offered = ray.cluster_resources()
            concurrent = places(self._work, offered)
            packing = Packing(gpu_bytes(self._work), offered["GPU"]) if self._work.pack else None
            bridge = Bridge(proposer, self._stopper, job, self._work, concurrent, packing=packing)
            tuner = tune.Tuner(
                tune.with_resources(Worker, lambda config: granted(config["work"])),
                tune_config=tune.TuneConfig(
                    search_alg=AskProposer(bridge),
                    scheduler=Decide(bridge),
                    num_samples=-1,
                    reuse_actors=True,
                    trial_name_creator=lambda trial: f"trial_{trial.trial_id}",
                    trial_dirname_creator=lambda trial: f"trial_{trial.trial_id}",
                ),
                run_config=tune.RunConfig(
                    name="sweep",
                    # Tune expects a folder that all nodes see, even where nothing is kept in it.
                    storage_path=str(self._work.folder / "ray" if self._address else scratch),
                    verbose=0,
                    stop=Spent(bridge),
                    callbacks=[Watch(bridge, own=self._address is None)],
                    failure_config=tune.FailureConfig(max_failures=0),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                ),
            )
            try:
                tuner.fit()
            finally:
                bridge.interrupt()
        # A person who interrupts between two trials has interrupted, too.
        return bridge.over() or (bridge.complete and not bridge.interrupted)


def granted(work: Work) -> dict[str, float]:
    """What Ray sets aside for a trial's worker; where several processes train, they ask for theirs themselves."""
    if work.processes > 1:
        # Ray places nothing that asks for nothing. Memory, because a CPU less is one process less.
        return {"memory": _HEARING_BYTES}
    return {"cpu": work.cpu, "gpu": work.gpu}


def places(work: Work, resources: dict[str, float]) -> int:
    """How many trials run at once on these resources. [count]

    Raises:
        RunError: not even one fits.
    """
    asked = {"CPU": work.cpu, "GPU": SHARES[-1] if work.pack else work.gpu}
    fit = min(
        (int(resources.get(kind, 0.0) / amount + 1e-9) for kind, amount in asked.items() if amount > 0), default=1
    )
    if fit < 1:
        offered = {kind: resources.get(kind, 0.0) for kind in asked}
        raise RunError(
            law(
                "A trial",
                f"at most what Ray offers ({offered['CPU']:g} CPU, {offered['GPU']:g} GPU)",
                {"cpu": work.cpu, "gpu": "auto" if work.pack else work.gpu},
                "Lower `resources:` in the space, or connect to a larger cluster with --address",
            )
        )
    return fit if work.concurrent is None else min(fit, work.concurrent)


@contextlib.contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set what keeps Ray quiet where nobody set it, and put environment and log levels back afterwards."""
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    os.environ.update(added)
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    # Short, because Ray puts Unix sockets inside, whose paths may have about 100 bytes; macOS's own choice is too long.
    folder = Path(tempfile.mkdtemp(prefix="nas-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _cluster(address: str | None, scratch: Path) -> Iterator[None]:
    import ray

    if ray.is_initialized():
        # Somebody else's (a notebook's, a test's): use it and leave it running.
        yield
        return
    if address is not None:
        _check(address)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address is None:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                _temp_dir=str(scratch),
            )
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError) as error:
        raise _unreachable(address or "local", str(error)) from error
    if threading.current_thread() is threading.main_thread():
        # Ray has taken it over and would leave at once, with nothing recorded.
        signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        ray.shutdown()


def _check(address: str) -> None:
    """Refuse an address where nobody listens: Ray itself would try for many minutes.

    Raises:
        RunError: nobody does.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from error


def _token() -> dict[str, str]:
    """Use the token that `ray start` on this machine has made, as a cluster that was started with it expects."""
    known = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return {"RAY_AUTH_MODE": "token"} if known or (Path.home() / ".ray" / "auth_token").exists() else {}


def _unreachable(address: str, reason: str) -> RunError:
    got = {"address": address, "reason": " ".join(reason.split())[:200]}
    remedy = "Start one with `ray start --head`; where it asks for a token, set RAY_AUTH_TOKEN"
    return RunError(law("--address", "a Ray cluster that answers", got, remedy))
