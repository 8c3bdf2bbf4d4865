"""Samples whose files cannot be read: named once, counted, and no obstacle while they are few."""

from __future__ import annotations

import logging

from torch import Tensor

from blocks.errors import DataError, law
from runners.data.contract import Split, UnreadableError

_log = logging.getLogger("nas.data")

MOST = 0.01
"""The share of a split that may be unreadable: with more, a result is not one of this data set any more."""

_SHOWN = 10

Problem = tuple[int, str]
"""A sample's number, and what is wrong with it."""


class Unreadable:
    """The samples of one split that could not be read so far.

    Args:
        subject: who is speaking, e.g. `Data set camvid, split val,`.
        samples: how many the split has. [count]
        fate: what becomes of such a sample, for the log.
    """

    def __init__(self, subject: str, samples: int, fate: str) -> None:
        self._subject, self._samples, self._fate = subject, samples, fate
        self._found: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._found)

    def __str__(self) -> str:
        return f"{self._subject} {len(self)} of {self._samples} images cannot be read and are {self._fate}"

    def add(self, problem: Problem) -> None:
        """Name a sample in the log unless it is known already.

        Raises:
            DataError: they are too many by now.
        """
        index, why = problem
        if index in self._found:
            return
        self._found[index] = why
        self.check()
        _log.warning("%s: %s", self._fate, why)

    def collect(self, problem: Problem) -> None:
        """Count a sample without naming it: whoever needs it will."""
        self._found.setdefault(*problem)

    def named(self) -> list[str]:
        """What is wrong with each of them, in the order of their numbers."""
        return [self._found[index] for index in sorted(self._found)]

    def check(self) -> None:
        """Raise DataError when more samples than `MOST` of the split cannot be read."""
        if len(self) <= MOST * self._samples:
            return
        needs = f"at most {MOST:.0%} of its images unreadable"
        remedy = "Restore or remove these files; `nas data` finds every one"
        said = law(self._subject, needs, {"unreadable": len(self), "images": self._samples}, remedy)
        every = self.named()
        more = len(every) - _SHOWN
        raise DataError("\n".join([said, *every[:_SHOWN], *([f"... and {more} more."] if more > 0 else [])]), every)


class Replaced:
    """A split in which the next sample that can be read stands in for one that cannot.

    The batch keeps its size, and which sample it is follows from the sample's number alone, whichever process loads.
    """

    def __init__(self, split: Split) -> None:
        self._split = split
        self._found: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        count = len(self)
        for step in range(count):
            chosen = (index + step) % count
            try:
                return self._split[chosen]
            except UnreadableError as error:
                self._found[chosen] = str(error)
        raise UnreadableError(self._found[index])

    def take(self) -> list[Problem]:
        """Return the samples that could not be read since the last call."""
        found = []
        while self._found:
            found.append(self._found.popitem())
        return found
