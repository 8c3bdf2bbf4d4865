"""Modes of torch that hold for one trial and are left behind with it: compiled, deterministic."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import torch

from blocks.errors import BlockError, NasError, RunError, law
from runners.training import Training

if TYPE_CHECKING:
    from torch._dynamo.callback import CallbackArgs

_log = logging.getLogger("nas.recipe")

_CUBLAS: Final = "CUBLAS_WORKSPACE_CONFIG"
_NO_COMPILER = ("InvalidCxxCompiler", "TritonMissing", "GPUTooOldForTriton", "Cannot find a working triton")
_UNKNOWN_ORDER = re.compile(r"^(\S+) does not have a deterministic implementation")


@contextmanager
def modes(training: Training) -> Iterator[None]:
    """Set the modes that a recipe asks for, and put back what was before, whatever happens.

    Unlike the log, it is held open between the epochs of a trial.

    Raises:
        BlockError: the network has an operation that has no deterministic form here, or that cannot be compiled.
        RunError: this machine has no compiler.
    """
    with ExitStack() as stack:
        if training.deterministic:
            stack.enter_context(_deterministic())
        if training.compile:
            stack.enter_context(_compiled())
        yield


@contextmanager
def _deterministic() -> Iterator[None]:
    """Let operations that add up in any order raise, or take their slower form where they have one."""
    flags = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    asked = os.environ.get(_CUBLAS)
    # Read when cuBLAS is first used. A worker whose earlier trials were not deterministic may have used it: torch
    # checks the variable itself, and where it came too late for the workspace, only several streams would differ.
    os.environ.setdefault(_CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        if (found := _UNKNOWN_ORDER.match(str(error))) is None:
            raise
        remedy = "Choose other components, or set training.deterministic to false"
        needs = "operations that have a deterministic form on this device"
        failed = BlockError(law("training.deterministic", needs, {"operation": found[1]}, remedy))
        raise _noted(failed, error) from error
    finally:
        torch.use_deterministic_algorithms(flags[0], warn_only=flags[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        if asked is None:
            os.environ.pop(_CUBLAS, None)


@contextmanager
def _compiled() -> Iterator[None]:
    """Word what a compiler says, and forget what it made.

    Compiled code is kept with the source that it is of, which all networks share, and torch gives up after a few: the
    ninth network of a worker would not be compiled any more, and the memory of the first would still be held.
    """
    from torch._dynamo.exc import TorchDynamoException  # takes a second to import

    torch.compiler.reset()
    try:
        yield
    except TorchDynamoException as error:
        cause = getattr(error, "inner_exception", error)
        said = next((line for line in str(cause).splitlines() if line.strip()), "")
        reason = f"{type(cause).__name__}: {said}"[:200]
        if any(word in f"{reason} {error}" for word in _NO_COMPILER):
            remedy = "Install one (g++ for CPUs, triton for GPUs), or set training.compile to false"
            needs = "a compiler on this machine"
            raise _noted(RunError(law("training.compile", needs, {"reason": reason}, remedy)), error) from error
        remedy = "Set training.compile to false, or leave this network out"
        needs = "a network that compiles"
        raise _noted(BlockError(law("training.compile", needs, {"reason": reason}, remedy)), error) from error
    finally:
        torch.compiler.reset()


def _noted(error: NasError, cause: Exception) -> NasError:
    """The log that an error took along belongs to the one that is raised in its place."""
    for note in getattr(cause, "__notes__", ()):
        error.add_note(note)
    return error


@contextmanager
def compilation_told(training: Training) -> Iterator[None]:
    """Log how long torch has compiled in here, if it has. [s]"""
    if not training.compile:
        yield
        return
    from torch._dynamo.callback import callback_handler

    spent: list[float] = []
    began: list[float] = []

    def start(_: CallbackArgs) -> None:
        began.append(time.perf_counter())

    def end(_: CallbackArgs) -> None:
        spent.append(time.perf_counter() - began.pop())

    callback_handler.register_start_callback(start)
    callback_handler.register_end_callback(end)
    try:
        yield
    finally:
        callback_handler.remove_start_callback(start)
        callback_handler.remove_end_callback(end)
    if spent:
        _log.info("compiled in %.1f s, which are part of this epoch", sum(spent))
