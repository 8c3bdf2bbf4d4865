"""Propose what is on a list, each network with each seed; no sampler has a say in it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blocks.architecture import Architecture, Component
from blocks.catalogue import versions
from blocks.network import fetch
from nas.propose.budget import built_cost
from nas.propose.candidates import protocol_of
from nas.propose.ledger import COSTS, Ledger
from nas.propose.progress import Progress
from nas.space import Candidate, Space
from nas.store import CUT_SHORT, Store
from runners.data import DataInfo
from runners.identity import identity
from runners.protocol import Epoch, Failed, Finished, Outcome, Proposal, Protocol, Rejected

_FINAL = ("finished", "replayed")


@dataclass(frozen=True, slots=True)
class Listed:
    """One training on the list.

    Args:
        arm: of an ablation; None for a network by itself.
        candidate: the network and its training.
        protocol: how it is trained and judged.
        seed: of weights, shuffling and augmentation.
        key: of its result, across studies.
    """

    arm: str | None
    candidate: Candidate
    protocol: Protocol
    seed: int
    key: str


def listed(
    space: Space, arms: Mapping[str | None, Candidate], seeds: Sequence[int], data: DataInfo, data_fingerprint: str
) -> list[Listed]:
    """Every arm with the first seed, then every arm with the next: a run that ends early leaves whole pairs."""
    found = []
    for seed in seeds:
        for arm, candidate in arms.items():
            protocol = protocol_of(space, candidate, data, data_fingerprint)
            known = versions(candidate.architecture, protocol.losses())
            key = identity(candidate.architecture, protocol, seed, known)
            found.append(Listed(arm, candidate, protocol, seed, key))
    return found


class ListedProposer:
    """Implements `runners.protocol.Resuming` for one study: the list, less what the study has already.

    A result from elsewhere in the store counts if it was trained exactly so: one whose batch was taken in parts for
    want of memory is another treatment where effects are measured, and is trained again.

    Args:
        space: the budget and the limits.
        store: where everything is recorded, before it counts.
        study_id: whose trials these are.
        items: the list.
        progress: what a terminal shows.
        fresh: train what other studies of this store have trained already.
        prepare: called with the first network of each backbone before it is trained: fetches weights.
        cost: what a candidate costs by the names of `blocks.cost.Cost`, or None where nobody knows.
    """

    def __init__(
        self,
        space: Space,
        store: Store,
        study_id: int,
        items: Sequence[Listed],
        *,
        progress: Progress,
        fresh: bool = False,
        prepare: Callable[[Architecture], None] = fetch,
        cost: Callable[[Architecture, Protocol], Mapping[str, int] | None] = built_cost,
    ) -> None:
        self._store = store
        self._study_id = study_id
        self._fresh = fresh
        self._prepare = prepare
        self._prepared: set[Component] = set()
        self._ledger = Ledger(space, store, study_id, progress=progress, cost=cost)
        self._objectives = space.objectives
        self._items: dict[int, Listed] = {}  # number in the study -> what is trained
        self._open: set[int] = set()  # in training
        self.progress = progress
        progress.planned = len(items)
        self._again, self._queue = self._recall(items)

    def propose(self) -> Proposal | None:
        """Return the next network on the list that is to be trained, or None when it has come to its end."""
        if self.over():
            return None
        if (left_over := self.left_over()) is not None:
            return left_over
        while self._queue:
            if (proposal := self._passed(self._queue.popleft())) is not None:
                return proposal
        return None

    def over(self) -> bool:
        """Tell whether the study has spent what it may."""
        if self.progress.done >= self.progress.goal or not (reached := self._ledger.limits.reached()):
            return False
        self.progress.end_early(reached)
        return True

    def left_over(self) -> Proposal | None:
        """Hand out the next trial that a run before this one left in training, or None when there is no other."""
        while self._again:
            if (proposal := self._resumed(self._again.popleft())) is not None:
                return proposal
        return None

    def again(self, trial: int) -> Proposal | None:
        """Hand out a paused trial, to be continued."""
        self.progress.resume("paused")
        return self._resumed(self._ledger.row(trial))

    def started(self, trial: int, *, host: str, device: str) -> None:
        """A worker has begun with it."""
        self._store.start(self._ledger.ids[trial], host, device)

    def epoch(self, trial: int, epoch: Epoch) -> None:
        """Record an epoch, before it counts."""
        self._ledger.epoch(trial, epoch)

    def retried(self, trial: int, reason: str) -> None:
        """Record that a trial has lost its worker and goes on with another."""
        self._ledger.retried(trial, reason)

    def ended(self, trial: int, outcome: Outcome) -> None:
        """Record an outcome."""
        if trial not in self._open:
            # It was paused, and will not go on.
            self.progress.resume("paused")
        elif isinstance(outcome, Finished):
            outcome = self._ledger.checked(trial)
        self._open.discard(trial)
        self._close(trial, outcome)

    def check(self) -> None:
        """To be called when the run is over.

        Raises:
            RunError: nothing could be trained.
        """
        self._ledger.budget.check(last=not self.progress.done)

    def _recall(self, items: Sequence[Listed]) -> tuple[deque[Mapping[str, Any]], deque[Listed]]:
        """Take up what earlier runs of this study have recorded; return what is to be continued and to be begun."""
        rows = [row for row in self._store.everything(self._study_id) if not row["outside"]]
        had = {(row["arm"], row["identity"]): row for row in rows}
        again: deque[Mapping[str, Any]] = deque()
        queue: deque[Listed] = deque()
        ended: Counter[str] = Counter()
        for item in items:
            row = had.get((item.arm, item.key))
            if row is None:
                queue.append(item)
                continue
            self._ledger.ids[row["number"]] = row["id"]
            self._items[row["number"]] = item
            if row["state"] in CUT_SHORT:
                again.append(row)
            else:
                ended[row["state"]] += 1
                self._result(row)
        self._ledger.limits.carry(rows)
        self.progress.carry(ended)
        self._show_goal()
        return again, queue

    def _passed(self, item: Listed) -> Proposal | None:
        """Record a network; train it only if nobody did, it can be built and fits the budget."""
        number = self._store.next_number(self._study_id)
        cost, refusal = self._ledger.costed(item.candidate.architecture, item.protocol)
        origin = "fixed" if item.arm is None else "arm"
        self._items[number] = item
        self._ledger.record(
            number,
            item.candidate,
            item.protocol,
            key=item.key,
            seed=item.seed,
            cost=cost,
            origin=origin,
            arm=item.arm,
        )
        return self._sieved(number, item, cost or {}, refusal)

    def _sieved(
        self, number: int, item: Listed, cost: Mapping[str, int], refusal: Failed | Rejected | None
    ) -> Proposal | None:
        if refusal is not None:
            self._close(number, refusal)
            return None
        known = None if self._fresh else self._store.known(item.key, degraded=False)
        if known is not None:
            self._result(self._ledger.replayed(number, known))
            return None
        return self._proposal(number, item, cost, done=0)

    def _resumed(self, row: Mapping[str, Any]) -> Proposal | None:
        """Hand out again what did not come to its end; None where nothing is left to train."""
        number = row["number"]
        item = self._items[number]
        self._store.requeue(row["id"])
        if not row["started"]:
            # It may have been recorded a moment before the gates would have turned it away.
            cost, refusal = self._ledger.costed(item.candidate.architecture, item.protocol)
            return self._sieved(number, item, cost or {}, refusal)
        proposal = self._proposal(number, item, {name: row[name] for name in COSTS}, done=row["epochs"])
        if proposal.done < proposal.epochs:
            return proposal
        # Its last epoch was recorded, its end was not.
        self.ended(number, Finished())
        return None

    def _proposal(self, number: int, item: Listed, cost: Mapping[str, float], *, done: int) -> Proposal:
        architecture = item.candidate.architecture
        if architecture.backbone not in self._prepared:
            self._prepare(architecture)
            self._prepared.add(architecture.backbone)
        proposal = Proposal(
            trial=number,
            architecture=architecture,
            protocol=item.protocol,
            seed=item.seed,
            known=dict(cost),
            limits=self._ledger.budget.measured,
            done=done,
        )
        self._open.add(number)
        self.progress.start(proposal)
        return proposal

    def _close(self, number: int, outcome: Outcome) -> None:
        self._result(self._ledger.closed(number, outcome))
        self._show_goal()

    def _result(self, row: Mapping[str, Any]) -> None:
        if row["state"] in _FINAL:
            self.progress.result(row["number"], {name: row[name] for name in self._objectives})

    def _show_goal(self) -> None:
        # What is over budget will never be trained.
        self.progress.possible = self.progress.planned - self.progress.counts["rejected"]
