"""SIGTERM: a cluster's scheduler wants its machine back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Preemption:
    """Whether SIGTERM has come."""

    came = False


@contextmanager
def preemptible() -> Iterator[Preemption]:
    """While it is open, SIGTERM ends a sweep in the way that Ctrl-C does, and is remembered.

    Checkpoints are there already (`resources.checkpoint_minutes`): what is left to do takes seconds, and a scheduler
    that grants more than that is not relied upon.
    """
    seen = Preemption()

    def handle(number: int, frame: FrameType | None) -> None:
        seen.came = True
        # Whoever is in charge has a handler for it: Tune's ends its loop, Python's raises KeyboardInterrupt.
        signal.raise_signal(signal.SIGINT)

    if threading.current_thread() is not threading.main_thread():
        yield seen  # signals are the main thread's own
        return
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGTERM, before)
