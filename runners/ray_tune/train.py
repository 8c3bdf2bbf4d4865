"""A trial in several processes through Ray Train, on one node or on many.

The processes ask for their CPUs and GPUs themselves; what Tune places is the one that hears them. Between them stands
an actor that runs Ray Train: killed, it takes along all that Train has started.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import ray
import torch
from ray.exceptions import RayError
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from runners.data import DataSet
from runners.distributed import PATIENCE, World, backend
from runners.protocol import Epoch, Outcome, Proposal, Work
from runners.ranks import Fault, Job, Message, epochs, part
from runners.recipe import attempts

_GRACE: Final = 60.0  # seconds in which Ray Train may end by itself
_ECHO: Final = 10.0  # seconds in which it notices that a process died
_UNIT = 10_000  # Ray counts resources in ten-thousandths


def spread(proposal: Proposal, work: Work, data: DataSet, device: torch.device) -> Generator[Epoch, None, Outcome]:
    """Train a network in several processes of Ray Train, as `runners.spawned.spread` does on one machine."""

    def once(left: Proposal, parts: int) -> Generator[Epoch, None, Outcome]:
        return epochs(_Trained(Job(left, work, parts)))

    return attempts(proposal, torch.device("cpu"), once, ranks=work.processes)


def share(work: Work) -> dict[str, float]:
    """What each process asks of Ray."""
    amounts = {"CPU": work.cpu / work.processes, "GPU": work.gpu / work.processes}
    # Rounded down: together they may not ask for more than the trial was granted.
    return {kind: int(amount * _UNIT + 1e-6) / _UNIT for kind, amount in amounts.items() if amount > 0}


class _Leader:
    """Runs Ray Train, and passes on what its processes and the trial say to each other."""

    def __init__(self) -> None:
        self._told: queue.Queue[Message] = queue.Queue()
        self._answers: queue.Queue[bool] = queue.Queue()

    def tell(self, message: Message) -> None:
        self._told.put(message)

    def hear(self) -> Message:
        return self._told.get()

    def answer(self, goes_on: bool) -> None:
        self._answers.put(goes_on)

    def goes_on(self) -> bool:
        return self._answers.get()

    def fit(self, job: Job, leader: Any, folder: str) -> None:
        gpus = job.work.gpu > 0
        TorchTrainer(
            _loop,
            train_loop_config={"job": job, "leader": leader},
            torch_config=TorchConfig(
                backend=backend("cuda" if gpus else "cpu"), timeout_s=int(PATIENCE.total_seconds())
            ),
            scaling_config=ScalingConfig(
                num_workers=job.work.processes, use_gpu=gpus, resources_per_worker=share(job.work)
            ),
            # Train expects a folder that all nodes see, even where nothing is kept in it.
            run_config=RunConfig(name="train", storage_path=folder),
        ).fit()


def _loop(config: dict[str, Any]) -> None:
    context, job = ray.train.get_context(), config["job"]
    world = World(context.get_world_rank(), context.get_world_size())
    part(job, world, get_device() if job.work.gpu else torch.device("cpu"), _Line(config["leader"]))


class _Line:
    """A process's line to its leader."""

    def __init__(self, leader: Any) -> None:
        self._leader = leader

    def tell(self, message: Message) -> None:
        ray.get(self._leader.tell.remote(message))

    def goes_on(self) -> bool:
        return bool(ray.get(self._leader.goes_on.remote()))


class _Trained:
    """The processes of one trial, as the trial sees them."""

    def __init__(self, job: Job) -> None:
        self._size = job.work.processes
        self._folder: Path = job.work.checkpoint(job.proposal.trial).parent / "ray"
        self._folder.mkdir(parents=True, exist_ok=True)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # Threads: to run Train, to hear a process, to let one wait for a word, and to take that word.
        leader: Any = ray.remote(num_cpus=0, max_concurrency=4 + self._size)(_Leader)
        self._leader = leader.options(scheduling_strategy=here).remote()
        self._run = self._leader.fit.remote(job, self._leader, str(self._folder))

    def hear(self) -> Message:
        """Wait for a message, or for the end of Ray Train without one."""
        asked = self._leader.hear.remote()
        ray.wait([asked, self._run], num_returns=1)
        done, _ = ray.wait([asked], timeout=1.0)
        if not done:
            return self._ended()
        message: Message = ray.get(asked)
        if isinstance(message, Fault) and "onnection" in message.text:
            # Of two processes that lost each other, the one that died has not said why.
            died, _ = ray.wait([self._run], timeout=_ECHO)
            return self._ended() if died else message
        return message

    def _ended(self) -> Message:
        try:
            ray.get(self._run)
        except RayError as error:
            return Fault(0, None, f"a process of {self._size} died: {' '.join(str(error).split())[-300:]}")
        return Fault(0, None, f"{self._size} processes ended without a result")

    def go_on(self) -> None:
        """Ask for another epoch."""
        ray.get(self._leader.answer.remote(True))

    def stop(self, *, waiting: bool) -> None:
        """End them: by a word where they wait for one, else by force."""
        with contextlib.suppress(RayError):
            if waiting:
                ray.get(self._leader.answer.remote(False))
                ray.wait([self._run], timeout=_GRACE)
        ray.kill(self._leader)
        shutil.rmtree(self._folder, ignore_errors=True)
