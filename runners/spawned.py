"""A trial in several processes of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Generator, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch
from torch import multiprocessing

from runners.data import DataSet
from runners.distributed import World, joined
from runners.protocol import Epoch, Outcome, Proposal, Work
from runners.ranks import Fault, Job, Message, epochs, part, place
from runners.recipe import attempts, train
from runners.roles import Recipe

_GRACE = 20.0  # seconds in which processes that may end by themselves do so
_ECHO = 0.5  # seconds in which a fault is felt by the other processes


def recipe(work: Work) -> Recipe:
    """What trains one network in this process or, where `work` says so, in several of this machine."""
    return spread if work.processes > 1 else train


def spread(proposal: Proposal, work: Work, data: DataSet, device: torch.device) -> Generator[Epoch, None, Outcome]:
    """Train a network in several processes, as `runners.recipe.train` does in one; each has its own device.

    Where the memory of one of them does not suffice, all begin again from the last checkpoint, with smaller parts.

    Raises:
        RunError: there are fewer GPUs than processes.
        RankError: one of them died.
        Exception: what `train` raises.
    """

    def once(left: Proposal, parts: int) -> Generator[Epoch, None, Outcome]:
        place(work, 0)
        return epochs(_Spawned(Job(left, work, parts)))

    return attempts(proposal, torch.device("cpu"), once, ranks=work.processes)


class _Spawned:
    """The processes, each with a pipe to this one."""

    def __init__(self, job: Job) -> None:
        context, size = multiprocessing.get_context("spawn"), job.work.processes
        self._folder = Path(tempfile.mkdtemp(prefix="nas-ranks-"))
        self._lines: list[Connection] = []
        self._processes = []
        for rank in range(size):
            mine, theirs = context.Pipe()
            # Not a daemon: those may not have the children that load data.
            process = context.Process(target=_rank, args=(job, World(rank, size), str(self._folder), theirs))
            with _quiet():
                process.start()
            theirs.close()
            self._lines.append(mine)
            self._processes.append(process)

    def hear(self) -> Message:
        """Wait for a message, or for the death of a process."""
        heard = self._heard(self._lines, None)
        faults = [message for message in heard if isinstance(message, Fault)]
        if not faults:
            return heard[0]
        # Those that merely lost a peer say so, too, and may have come first.
        quiet = [line for rank, line in enumerate(self._lines) if rank not in {fault.rank for fault in faults}]
        faults += [message for message in self._heard(quiet, _ECHO) if isinstance(message, Fault)]
        return min(faults, key=lambda fault: fault.at)

    def _heard(self, lines: list[Connection], seconds: float | None) -> list[Message]:
        ready = wait(lines, seconds)
        return [self._read(line) for line in lines if line in ready]

    def _read(self, line: Connection) -> Message:
        rank = self._lines.index(line)
        try:
            message: Message = line.recv()
        except (EOFError, ConnectionError):
            process = self._processes[rank]
            process.join(_GRACE)
            return Fault(rank, None, f"process {rank} of {len(self._lines)} died: {_end(process.exitcode)}")
        return message

    def go_on(self) -> None:
        """Ask for another epoch."""
        self._lines[0].send(True)

    def stop(self, *, waiting: bool) -> None:
        """End them: by a word where they wait for one, else by force."""
        if waiting and self._processes[0].is_alive():
            try:
                self._lines[0].send(False)
            except OSError:
                waiting = False
        for process in self._processes:
            if waiting:
                process.join(_GRACE)
            if process.is_alive():
                process.kill()
        for process in self._processes:
            process.join()
        for line in self._lines:
            line.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _end(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


class _Pipe:
    """A process's line to the one that started it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tell(self, message: Message) -> None:
        self._connection.send(message)

    def goes_on(self) -> bool:
        return bool(self._connection.recv())


def _rank(job: Job, world: World, folder: str, connection: Connection) -> None:
    # Ctrl-C reaches every process of a terminal; the one that started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()
    _stay_here()
    device, line = place(job.work, world.rank), _Pipe(connection)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with joined(world, f"file://{folder}/rendezvous", device):
        if not part(job, world, device, line):
            # To part from the others in order would wait for them, and they for this one.
            os._exit(1)


def _follow() -> None:
    """End this process with the one that started it, whatever it is waiting for."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Start processes that do not print what torch warns of in the step that looks for unused parameters."""
    name = "TORCH_CPP_LOG_LEVEL"  # read when torch is imported
    given = os.environ.get(name)
    os.environ.setdefault(name, "ERROR")
    try:
        yield
    finally:
        if given is None:
            del os.environ[name]


def _stay_here() -> None:
    """Let the processes meet on loopback: they are all on this machine."""
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    if loopback is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
