"""Whose weights a new network begins with: the finished one of its study that is nearest to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from blocks.architecture import Architecture
from blocks.errors import BlockError
from nas.store import Store
from runners.identity import Parent
from runners.inheritance import in_common
from runners.protocol import Protocol


@dataclass(frozen=True, slots=True)
class _Finished:
    """A trial that others may begin with.

    Args:
        parent: what a worker is told of it.
        setting: what its protocol says besides the options of training.
        miou: that it ended with.
    """

    parent: Parent
    setting: Mapping[str, Any]
    miou: float


class Parents:
    """The finished trials of one study, and which of them is nearest to a new network.

    The distance is what really counts: the parameters that the two share, which are those of equal names and shapes in
    slots with the same component. Of equally near ones, the one with the better mIoU is taken, then the older one. Only
    trials whose protocol agrees are asked, the options of training aside, and whose checkpoint is still there.

    Args:
        rows: what the store has of the study's finished trials, `architecture` and `protocol` included.
        checkpoint: where the checkpoint of a trial lies; without it, every network starts fresh.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = (), checkpoint: Callable[[int], Path] | None = None) -> None:
        self._checkpoint = checkpoint
        self._all: dict[int, Parent] = {}
        self._finished: dict[int, _Finished] = {}
        for row in rows:
            self.add(row)

    @classmethod
    def recorded(cls, store: Store, study_id: int, checkpoint: Callable[[int], Path]) -> Self:
        """Those that a study has so far."""
        return cls(store.unfinished(study_id, ("finished",)), checkpoint)

    def add(self, row: Mapping[str, Any]) -> None:
        """Hear of a trial that has ended; what is replayed was not trained here and has no weights."""
        if self._checkpoint is None or row["state"] != "finished":
            return
        architecture = Architecture.from_canonical(row["architecture"])
        parent = Parent(trial=row["number"], identity=row["identity"], architecture=architecture)
        self._all[parent.trial] = parent
        if not row["outside"]:
            self._finished[parent.trial] = _Finished(parent, _setting(row["protocol"]), row["miou"] or 0.0)

    def of(self, row: Mapping[str, Any]) -> Parent | None:
        """The parent that is recorded of a trial: it stays the same however often the trial is begun."""
        return None if row["parent"] is None else self._all[row["parent"]]

    def nearest(self, architecture: Architecture, protocol: Protocol) -> Parent | None:
        """The trial that a network shares most parameters with, or None where there is none that shares any."""
        if self._checkpoint is None or not self._finished:
            return None
        setting = _setting(protocol.canonical())
        near = []
        for number, known in self._finished.items():
            if known.setting == setting and (count := _common(architecture, known.parent, protocol)):
                near.append((-count, -known.miou, number))
        # The best first: hardly ever is more than one checkpoint looked for.
        there = (number for *_, number in sorted(near) if self._checkpoint(number).is_file())
        nearest = next(there, None)
        return None if nearest is None else self._finished[nearest].parent


def _common(architecture: Architecture, parent: Parent, protocol: Protocol) -> int:
    try:
        return in_common(architecture, parent.architecture, protocol)
    except BlockError:
        # The new network was costed before; the recorded one has components that this version does not.
        return 0


def _setting(protocol: str) -> dict[str, Any]:
    """A protocol without the options of training: the data, size, classes and losses."""
    plain: dict[str, Any] = json.loads(protocol)
    del plain["training"]
    return plain
