"""One trial in several processes: who takes which share of a batch, and what the processes tell each other.

The recipe is written once: for a process that trains alone, everything here leaves numbers as they are.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from blocks.errors import RunError, law
from blocks.network import Supervised

_log = logging.getLogger("nas.recipe")

Told = TypeVar("Told")

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: measuring and writing are done by one of them alone."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes that train one network together, each as it sees them; they must all call each method in turn.

    Args:
        rank: which of them this one is, from 0.
        size: how many there are. [count]
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this one measures, writes and reports for all of them."""
        return self.rank == 0

    def share(self, items: list[Told]) -> list[Told]:
        """Every `size`-th, beginning at this one's: the shares differ by one at most."""
        return items[self.rank :: self.size]

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes."""
        return values if self.size == 1 else self.total(values) / self.size

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def agreed(self, value: Told) -> Told:
        """What the leading process says; the others' values do not matter."""
        if self.size == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said, src=0)
        return said[0]

    def gathered(self, value: Told) -> list[Told]:
        """What each of them says, in the order of their ranks."""
        if self.size == 1:
            return [value]
        said: list[Told] = [value] * self.size
        dist.all_gather_object(said, value)
        return said

    def align(self, module: nn.Module) -> None:
        """Give every process the leading one's buffers: running statistics, memories of losses."""
        if self.size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)


ALONE = World()


def announce(world: World, batch: int, device: torch.device) -> None:
    """Log that several processes train this network.

    Raises:
        RunError: some would have no image of a batch.
    """
    if world.size == 1:
        return
    if batch < world.size:
        got = {"batch": batch, "processes": world.size}
        raise RunError(law("A batch", "an image for each process", got, "Raise training.batch, or lower resources.gpu"))
    _log.info("%d processes on %s, each with %g images of a batch", world.size, device.type, batch / world.size)


def same_everywhere(path: Path, epochs: int | None, world: World) -> None:
    """Raise RunError unless every process reads a checkpoint of so many epochs, or none reads one."""
    if len(set(found := world.gathered(epochs))) > 1:
        remedy = "Keep trials in a folder that all nodes see"
        raise RunError(law(f"The checkpoint {path}", "to be the same for each process", {"epochs": found}, remedy))


class Replica:
    """What trains in each process: the module itself, or one whose gradients are averaged over all processes.

    Before each step, buffers become the leading process's, whose checkpoint is that of all; batch norms take their
    statistics from its share of the batch alone, unless they are synchronised.

    Parameters that a step leaves out are looked for in the first step. Where it leaves out none, they are not looked
    for again, unless there are auxiliary losses: some of these rest at times.

    Args:
        supervised: the network and its losses.
        world: the processes.
        device: of this one.
        run: what is called instead, over the same weights: compiled.

    Raises:
        RunError: norms are to be synchronised where torch cannot.
    """

    def __init__(
        self, supervised: Supervised, world: World, device: torch.device, *, run: nn.Module | None = None
    ) -> None:
        self._supervised, self._device = supervised, device
        self._run = supervised if run is None else run
        self._parallel: DistributedDataParallel | None = None
        if world.size > 1:
            _check_norms(supervised, device)
            self._parallel = self._replicated(search=True)

    def _replicated(self, *, search: bool) -> DistributedDataParallel:
        ids = [self._device] if self._device.type == "cuda" else None
        return DistributedDataParallel(self._run, device_ids=ids, find_unused_parameters=search)

    def __call__(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = (self._run if self._parallel is None else self._parallel)(images, labels)
        return losses

    def averaging(self, now: bool) -> AbstractContextManager[None]:
        """Let gradients add up in each process until the backward pass that averages them."""
        return contextlib.nullcontext() if now or self._parallel is None else self._parallel.no_sync()

    def settle(self) -> None:
        """After a backward pass: stop looking for parameters that it left out if there were none."""
        parallel = self._parallel
        if parallel is None or not parallel.find_unused_parameters or len(self._supervised.auxiliary):
            return
        # A gradient that is missing here is missing in every process, so they all decide alike.
        if all(p.grad is not None for p in self._supervised.parameters() if p.requires_grad):
            self._parallel = parallel = None  # the old one has to let go of the parameters first
            self._parallel = self._replicated(search=False)


def _check_norms(module: nn.Module, device: torch.device) -> None:
    """Refuse what `SyncBatchNorm` would refuse in the middle of the first step, with no word on the remedy."""
    if device.type != "cuda" and any(isinstance(part, nn.SyncBatchNorm) for part in module.modules()):
        remedy = "Write training.norms: batch or frozen, or resources.per_trial: one"
        raise RunError(law("Norms that are synchronised", "CUDA devices", {"device": device.type}, remedy))


@contextlib.contextmanager
def joined(world: World, rendezvous: str, device: torch.device) -> Iterator[None]:
    """Meet the other processes at a URL that all of them know, and part from them."""
    dist.init_process_group(
        backend(device.type), init_method=rendezvous, rank=world.rank, world_size=world.size, timeout=PATIENCE
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def backend(kind: str) -> str:
    """What carries tensors of a kind of device; plain values always go through the CPU, which waits for no GPU."""
    return "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
