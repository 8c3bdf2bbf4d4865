"""Optuna samples, the gates decide what is worth training, the store remembers, and the sampler hears the truth."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from blocks.architecture import Architecture, Component
from blocks.network import fetch
from nas.propose.budget import built_cost
from nas.propose.candidates import Asked, Candidates, protocol_of
from nas.propose.ledger import COSTS, Ledger
from nas.propose.memory import FINAL, Memory
from nas.propose.mirror import Mirror
from nas.propose.modelled import Modelled
from nas.propose.parents import Parents
from nas.propose.partial_order import PartialOrder
from nas.propose.progress import Progress
from nas.space import Candidate, Space
from nas.store import CUT_SHORT, Store
from runners.data import DataInfo
from runners.protocol import Epoch, Finished, Interrupted, Outcome, Proposal, Protocol

_SKIPS = 200  # hopeless candidates in a row after which there is nothing left to find


class OptunaProposer:
    """Implements `runners.protocol.Proposer` for one study.

    Args:
        space: what may vary, the budget, the sampler, the limits.
        store: where everything is recorded, before it counts.
        study_id: whose trials these are.
        data: what the networks are for.
        data_fingerprint: of its files.
        progress: what a terminal shows.
        mirror: copies told trials to Optuna's tables, or None.
        fresh: train what other studies of this store have trained already.
        parents: whose weights networks begin with; by default all of them start fresh.
        prepare: called with the first network of each backbone before it is trained: fetches weights.
        cost: what a candidate costs by the names of `blocks.cost.Cost`, or None where nobody knows.
    """

    def __init__(
        self,
        space: Space,
        store: Store,
        study_id: int,
        *,
        data: DataInfo,
        data_fingerprint: str,
        progress: Progress,
        mirror: Mirror | None = None,
        fresh: bool = False,
        parents: Parents | None = None,
        prepare: Callable[[Architecture], None] = fetch,
        cost: Callable[[Architecture, Protocol], Mapping[str, int] | None] = built_cost,
    ) -> None:
        self._space = space
        self._store = store
        self._study_id = study_id
        self.progress = progress
        self._fresh = fresh
        self._parents = parents or Parents()
        self._prepare = prepare
        self._ledger = Ledger(space, store, study_id, progress=progress, cost=cost)
        self._prepared: set[Component] = set()
        self._budget = self._ledger.budget
        self._limits = self._ledger.limits
        self._order = PartialOrder(space.questions(), space.objectives) if space.search.partial_order else None
        self._skipped_in_a_row = 0
        self._ids = self._ledger.ids
        self._asked: dict[int, Asked] = {}  # in training
        self._seen: dict[str, int] = {}  # key of a result -> number of the trial of this study that has it
        told, left = store.told(study_id), store.unfinished(study_id, CUT_SHORT)
        self.memory = Memory(space, told, progress, mirror)
        self.model = Modelled(space, self._counted) if space.search.sampler.name == "surrogate" else None
        self._again = deque(left)
        self._protocol = partial(protocol_of, space, data=data, data_fingerprint=data_fingerprint)
        self._candidates = Candidates(space, self.memory.study, data, data_fingerprint, model=self.model)
        self._recall(told, left)
        progress.possible = self._candidates.total

    def propose(self) -> Proposal | None:
        """Return the next network that is worth training, or None when the sweep is complete.

        Raises:
            RunError: nothing that the sampler proposes fits the budget.
        """
        if self.over():
            return None
        if (left_over := self.left_over()) is not None:
            return left_over
        while self.progress.done + len(self.progress.running) < self.progress.planned:
            exhausted = self._candidates.total is not None and len(self._seen) >= self._candidates.total
            self._budget.check(last=exhausted and not self.progress.done and not self.progress.running)
            asked = None if exhausted else self._candidates.next(self._seen, self._repeated)
            if asked is None:
                self.progress.end_early(self._candidates.exhausted(len(self._seen)))
                return None
            if (proposal := self._gated(asked)) is not None:
                return proposal
            if self._skipped_in_a_row >= _SKIPS:
                self.progress.end_early(f"the last {_SKIPS} candidates cannot improve the front: search.partial_order")
                return None
        return None

    def over(self) -> bool:
        """Tell whether the sweep has spent what it may."""
        if self.progress.done >= self.progress.planned or not (reached := self._limits.reached()):
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
        self._store.start(self._ids[trial], host, device)

    def epoch(self, trial: int, epoch: Epoch) -> None:
        """Record an epoch, before it counts."""
        self._ledger.epoch(trial, epoch)
        if self.model is not None:
            self.model.hear(trial, epoch.epoch, asdict(epoch))

    def retried(self, trial: int, reason: str) -> None:
        """Record that a trial has lost its worker and goes on with another."""
        self._ledger.retried(trial, reason)

    def ended(self, trial: int, outcome: Outcome) -> None:
        """Record an outcome and tell the sampler."""
        asked = self._asked.pop(trial, None)
        if asked is None:
            # It was paused: the sampler has heard of it.
            self.progress.resume("paused")
            self.memory.settle(self._closed(trial, outcome))
            return
        if isinstance(outcome, Finished):
            outcome = self._ledger.checked(trial)
        row = self._closed(trial, outcome)
        if isinstance(outcome, Interrupted):
            self.memory.drop(asked.trial)
        else:
            self._tell(asked, row)

    def check(self) -> None:
        """To be called when the sweep is over.

        Raises:
            RunError: nothing could be trained.
        """
        self._budget.check(last=not self.progress.done)

    # Resume

    def _recall(self, told: list[dict[str, Any]], left: list[dict[str, Any]]) -> None:
        """Take up what earlier runs of this study have recorded."""
        for row in (*told, *left):
            self._seen.setdefault(self._candidates.key(row), row["number"])
            self.progress.repeats += row["repeats"]
            if row["state"] in FINAL:
                self._order_by(row)
        for row in told:
            self._ids[row["number"]] = row["id"]
        if self.model is not None:
            for row in sorted((*told, *left), key=lambda row: row["number"]):
                costs = {name: row[name] for name in COSTS if row[name] is not None}
                self.model.recall(row, costs, self._store.epochs(row["id"]) if row["epochs"] else ())
        self._limits.carry((*told, *left))
        self.progress.carry(Counter(row["state"] for row in told))

    def _resumed(self, row: Mapping[str, Any]) -> Proposal | None:
        """Hand out again what did not come to its end: in a run before this one, or because it was paused.

        None where nothing is left to train.
        """
        number = row["number"]
        self._store.requeue(row["id"])
        self._ids[number] = row["id"]
        asked = replace(self._candidates.fixed(row["answers"]), parent=self._parents.of(row))
        if not row["started"]:
            # It may have been recorded a moment before the gates would have turned it away.
            return self._sieved(number, asked, *self._costed(asked))
        proposal = self._proposal(number, asked, {name: row[name] for name in COSTS}, done=row["epochs"])
        if proposal.done < proposal.epochs:
            return proposal
        # Its last epoch was recorded, its end was not.
        self.ended(number, Finished())
        return None

    # Gates

    def _gated(self, asked: Asked) -> Proposal | None:
        """Record a candidate; train it only if nobody did, it can be built, fits the budget, and may be worth it."""
        try:
            number = self._store.next_number(self._study_id)
            self._seen[asked.key] = number
            cost, refusal = self._costed(asked)
            if refusal is None:
                asked = replace(asked, parent=self._parents.nearest(asked.candidate.architecture, asked.protocol))
            self._record(number, asked, cost)
            return self._sieved(number, asked, cost, refusal)
        except BaseException:
            # The search ends here; Optuna's study is left with nothing open.
            self.memory.drop(asked.trial)
            raise

    def _sieved(
        self, number: int, asked: Asked, cost: Mapping[str, int] | None, refusal: Outcome | None
    ) -> Proposal | None:
        """Close a recorded candidate that need not be trained; hand out any other."""
        known = None if self._fresh else self._store.known(asked.identity)
        if refusal is not None:
            self._tell(asked, self._closed(number, refusal))
            return None
        if known is not None:
            row = self._ledger.replayed(number, known)
            if self.model is not None:
                self.model.end(number, row)
            self._tell(asked, row)
            return None
        if reason := self._order and self._order.hopeless(asked.candidate.answers, cost or {}):
            self._skipped_in_a_row += 1
            self._store.skip(self._ids[number], str(reason))
            self.progress.end(number, "skipped", note=str(reason))
            self._tell(asked, self._ledger.row(number))
            return None
        self._skipped_in_a_row = 0
        return self._proposal(number, asked, cost or {}, done=0)

    def _costed(self, asked: Asked) -> tuple[Mapping[str, int] | None, Outcome | None]:
        return self._ledger.costed(asked.candidate.architecture, asked.protocol)

    def _counted(self, candidate: Candidate) -> Mapping[str, float] | None:
        """What a candidate costs that may never be trained, for the model."""
        return self._ledger.costed(candidate.architecture, self._protocol(candidate))[0]

    def _record(self, number: int, asked: Asked, cost: Mapping[str, int] | None) -> None:
        self._ledger.record(
            number,
            asked.candidate,
            asked.protocol,
            key=asked.identity,
            seed=self._space.search.seed,
            cost=cost,
            origin=asked.origin,
            repeats=asked.repeats,
            parent=asked.parent,
        )
        if self.model is not None:
            self.model.begin(number, asked.candidate.answers, asked.protocol.recipe().epochs, cost or {})

    def _proposal(self, number: int, asked: Asked, cost: Mapping[str, float], *, done: int) -> Proposal:
        architecture = asked.candidate.architecture
        if architecture.backbone not in self._prepared:
            self._prepare(architecture)
            self._prepared.add(architecture.backbone)
        proposal = Proposal(
            trial=number,
            architecture=architecture,
            protocol=asked.protocol,
            seed=self._space.search.seed,
            known=dict(cost),
            limits=self._budget.measured,
            done=done,
            parent=asked.parent,
        )
        self._asked[number] = asked
        if self.model is not None:
            self.model.train(number)
        self.progress.start(proposal)
        return proposal

    def _closed(self, number: int, outcome: Outcome) -> Mapping[str, Any]:
        """Record how a trial ended and return what the store has of it."""
        row = self._ledger.closed(number, outcome)
        self._parents.add(row)
        if self.model is not None:
            self.model.end(number, row)
        return row

    # Feedback

    def _tell(self, asked: Asked, row: Mapping[str, Any]) -> None:
        if row["state"] in FINAL:
            self._order_by(row)
        self.memory.tell(asked.trial, row)

    def _order_by(self, row: Mapping[str, Any]) -> None:
        if self._order is not None:
            self._order.add(row["number"], row["answers"], row)

    def _repeated(self, asked: Asked) -> None:
        self.progress.repeats += 1
        self.memory.tell_again(asked.trial, self._ledger.row(self._seen[asked.key]))
