"""What ends a trial before its time, and how it is recorded."""

from __future__ import annotations

import traceback

import torch

from blocks.errors import DataError, NasError, RunError, law
from runners.deadline import TimedOut
from runners.inheritance import Orphaned
from runners.protocol import Failed


class Diverged(RunError):  # noqa: N818  # a thing that happens to a trial, and named so in its record
    """The loss is not a finite number any more.

    Args:
        epoch: counted from 1.
        step: counted from 1 over the whole training.
        loss: what it was.
    """

    def __init__(self, epoch: int, step: int, loss: float) -> None:
        super().__init__(epoch, step, loss)
        self.epoch, self.step, self.loss = epoch, step, loss

    def __str__(self) -> str:
        got = {"loss": self.loss, "step": self.step, "epoch": self.epoch}
        return law("Training", "a finite loss", got, "Lower the learning rate")


def failure(error: BaseException, log: str = "") -> Failed:
    """Turn what ended a trial into its outcome: a short reason, the traceback, and what was logged before."""
    notes = "\n".join(getattr(error, "__notes__", ()))
    hopeless = isinstance(error, DataError | RunError) and not isinstance(error, Diverged | Orphaned)
    return Failed(_reason(error), "".join(traceback.format_exception(error)), log or notes, hopeless)


def out_of_memory(error: BaseException) -> bool:
    """Tell whether it was memory, of the device or of this process, that did not suffice."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in ("can't allocate memory", "STATUS_ALLOC_FAILED")
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, Diverged):
        return f"diverged at step {error.step} (epoch {error.epoch})"
    if out_of_memory(error):
        return "out of memory"
    if isinstance(error, NasError | TimedOut):
        return str(error)
    first = next(iter(str(error).splitlines()), "")
    return f"crash: {type(error).__name__}: {first}"[:500]
