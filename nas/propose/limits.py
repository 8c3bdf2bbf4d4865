"""How much a sweep may spend, and whether that is used up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nas.space import Search
from runners.protocol import Epoch


class Limits:
    """Wall clock, GPU hours and epochs.

    The wall clock is that of this run, so that a job that is resumed has its hours anew; GPU hours and epochs are those
    of the whole study, as far as they are recorded.

    Args:
        search: what is allowed.
        gpu: GPUs per trial. [count]
        clock: seconds that only grow; another one for whoever simulates.
    """

    def __init__(self, search: Search, *, gpu: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._search = search
        self._gpu = gpu
        self._clock = clock
        self._began = clock()
        self._epochs = 0
        self._seconds = 0.0

    def carry(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count what earlier runs of this study have spent."""
        for row in rows:
            if row["state"] != "replayed":  # trained elsewhere
                self._epochs += row["epochs"]
                self._seconds += row["train_seconds"] or 0.0

    def spend(self, epoch: Epoch) -> None:
        """Count an epoch."""
        self._epochs += 1
        self._seconds += epoch.seconds

    def reached(self) -> str:
        """Which limit is used up and what to do about it, or nothing."""
        spent = {
            "hours": (self._clock() - self._began) / 3600,
            "gpu_hours": self._seconds * self._gpu / 3600,
            "epochs": self._epochs,
        }
        for name, amount in spent.items():
            allowed = getattr(self._search, name)
            if allowed is not None and amount >= allowed:
                remedy = "go on with --resume" if name == "hours" else "raise it and go on with --resume"
                return f"search.{name}: {allowed:g} is used up; {remedy}"
        return ""
