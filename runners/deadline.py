"""What a trial may take, as a whole and between two epochs, and what ends one that hangs."""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from runners.protocol import Work


class TimedOut(Exception):  # noqa: N818  # a thing that happens to a trial, and named so in its record
    """A trial took longer than it may."""


class Deadline:
    """Until when the next epoch has to be there.

    Args:
        work: the limits.
        clock: seconds that only grow.
    """

    def __init__(self, work: Work, clock: Callable[[], float] = time.monotonic) -> None:
        self._work = work
        self._clock = clock
        self._began = self._heard = clock()

    def heard(self) -> None:
        """An epoch is there: the wait for the next one begins."""
        self._heard = self._clock()

    def left(self) -> tuple[float, str] | None:
        """Seconds until the limit that comes first, and how to word it; None where there is no limit."""
        ends: list[tuple[float, str]] = []
        whole, stalled = self._work.trial_seconds, self._work.stalled_seconds
        if whole is not None:
            ends.append((self._began + whole - self._clock(), f"timeout: in training for {_minutes(whole)}"))
        if stalled is not None:
            ends.append((self._heard + stalled - self._clock(), f"timeout: no epoch for {_minutes(stalled)}"))
        return min(ends, default=None)

    def passed(self) -> str:
        """Which limit has passed, or nothing."""
        left = self.left()
        return left[1] if left is not None and left[0] <= 0 else ""


@contextlib.contextmanager
def interrupting(deadline: Deadline) -> Iterator[None]:
    """Raise in this thread when the deadline passes inside the block, wherever Python has control.

    A hang inside native code is not ended by it: only a process of its own can be. Threads other than the main one, and
    systems without timers, are only checked on the way in.

    Raises:
        TimedOut: it has passed.
    """
    left = deadline.left()
    if left is None:
        yield
        return
    seconds, reason = left
    if seconds <= 0:
        raise TimedOut(reason)
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def expired(number: int, frame: FrameType | None) -> None:
        raise TimedOut(reason)

    handler = signal.signal(signal.SIGALRM, expired)
    # Somebody else's timer, if there is one, goes on afterwards.
    other = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *other)


@contextlib.contextmanager
def exiting(deadline: Deadline, note: Path) -> Iterator[None]:
    """End this process when the deadline passes inside the block, even where native code never returns.

    Args:
        deadline: of the trial.
        note: a file that then says where every thread was.

    Raises:
        TimedOut: it has passed already.
    """
    left = deadline.left()
    if left is None:
        yield
        return
    if left[0] <= 0:
        raise TimedOut(left[1])
    note.parent.mkdir(parents=True, exist_ok=True)
    with note.open("w") as file:
        faulthandler.dump_traceback_later(left[0], exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
    note.unlink(missing_ok=True)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:g} min"
