"""What happens to every trial, whoever chose it: costed, recorded before it counts, checked, closed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from blocks.architecture import Architecture
from blocks.errors import BlockError
from nas.propose.budget import Budget
from nas.propose.limits import Limits
from nas.propose.progress import Progress
from nas.space import Candidate, Space
from nas.store import Store, choices_of
from runners.identity import Parent
from runners.protocol import Epoch, Failed, Finished, Outcome, Protocol, Rejected

COSTS = ("params", "macs", "macs_conv", "activation_bytes")
"""What is known of a network before it is trained."""


class Ledger:
    """The trials of one study on their way through the store, the limits and what a terminal shows.

    Args:
        space: its budget, limits and objectives.
        store: where everything is recorded, before it counts.
        study_id: whose trials these are.
        progress: what a terminal shows.
        cost: what a network costs by the names of `blocks.cost.Cost`, or None where nobody knows.
    """

    def __init__(
        self,
        space: Space,
        store: Store,
        study_id: int,
        *,
        progress: Progress,
        cost: Callable[[Architecture, Protocol], Mapping[str, int] | None],
    ) -> None:
        self._objectives = space.objectives
        self._store = store
        self._study_id = study_id
        self._cost = cost
        self.progress = progress
        self.budget = Budget(space.budget)
        self.limits = Limits(space.search, gpu=space.resources.gpus)
        self.ids: dict[int, int] = {}  # number in the study -> id in the store

    def costed(
        self, architecture: Architecture, protocol: Protocol
    ) -> tuple[Mapping[str, int] | None, Failed | Rejected | None]:
        """What a network costs, and why it is not to be trained, where it is not."""
        try:
            cost = self._cost(architecture, protocol)
        except BlockError as error:
            return None, Failed(reason=f"cannot be built: {error}")
        return cost, self.budget.exceeded(cost or {})

    def record(
        self,
        number: int,
        candidate: Candidate,
        protocol: Protocol,
        *,
        key: str,
        seed: int,
        cost: Mapping[str, int] | None,
        origin: str,
        repeats: int = 0,
        arm: str | None = None,
        parent: Parent | None = None,
    ) -> None:
        """Record what is about to be tried; see `Store.propose`."""
        self.ids[number] = self._store.propose(
            self._study_id,
            number,
            identity=key,
            architecture=candidate.architecture,
            protocol=protocol,
            seed=seed,
            cost=cost,
            answers=candidate.answers,
            choices=choices_of(candidate.architecture, protocol),
            epochs=protocol.recipe().epochs,
            origin=origin,
            repeats=repeats,
            arm=arm,
            parent=self.ids[parent.trial] if parent else None,
        )

    def epoch(self, trial: int, epoch: Epoch) -> None:
        """Record an epoch, before it counts."""
        self._store.epoch(self.ids[trial], epoch)
        self.budget.hit()
        self.limits.spend(epoch)
        self.progress.epoch(trial, epoch)

    def retried(self, trial: int, reason: str) -> None:
        """Record that a trial has lost its worker and goes on with another."""
        self._store.retry(self.ids[trial], reason)
        self.progress.say(f"trial {trial}: goes on with another worker ({reason})")

    def checked(self, trial: int) -> Outcome:
        """A finished trial whose objectives are not numbers has failed."""
        row = self.row(trial)
        odd = [n for n in self._objectives if row.get(n) is None or not math.isfinite(row[n])]
        return Failed(reason=f"no usable value of {', '.join(odd)}") if odd else Finished()

    def closed(self, number: int, outcome: Outcome) -> Mapping[str, Any]:
        """Record how a trial ended and return what the store has of it."""
        self._store.end(self.ids[number], outcome)
        row = self.row(number)
        if isinstance(outcome, Rejected) or (isinstance(outcome, Failed) and not row["epochs"]):
            self.budget.miss(outcome)
        self.progress.end(number, row["state"], outcome)
        return row

    def replayed(self, number: int, known: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give a trial the result that is known, and return what the store has of it."""
        self._store.replay(self.ids[number], known["id"])
        self.progress.end(number, "replayed", note=f"trained as trial {known['number']} of {known['study']}")
        return self.row(number)

    def row(self, number: int) -> Mapping[str, Any]:
        """Everything that the store has of a trial."""
        row = self._store.trial(self._study_id, number)
        assert row is not None
        return row
