"""Optuna samples, the gates decide what is worth training, the store remembers, and the sampler hears the truth."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import optuna

from blocks.architecture import Architecture, Component
from blocks.cost import Cost, cost_of
from blocks.errors import BlockError
from blocks.network import fetch
from nas.propose.budget import Budget
from nas.propose.candidates import Asked, Candidates
from nas.propose.feedback import feedback
from nas.propose.mirror import Mirror
from nas.propose.progress import Progress
from nas.propose.samplers import distribution, parameters, sampler
from nas.space import Space
from nas.store import Store, choices_of
from runners.data import DataInfo
from runners.protocol import Epoch, Failed, Finished, Interrupted, Outcome, Proposal, Rejected

_FINAL = ("finished", "replayed")
_COSTS = ("params", "macs", "macs_conv", "activation_bytes")


class OptunaProposer:
    """Implements `runners.protocol.Proposer` for one study.

    Args:
        space: what may vary, the budget, the sampler.
        store: where everything is recorded, before it counts.
        study_id: whose trials these are.
        data: what the networks are for.
        data_fingerprint: of its files.
        progress: what a terminal shows.
        mirror: copies told trials to Optuna's tables, or None.
        prepare: called with the first network of each backbone before it is trained: fetches weights.
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
        prepare: Callable[[Architecture], None] = fetch,
    ) -> None:
        self._space = space
        self._store = store
        self._study_id = study_id
        self.progress = progress
        self._mirror = mirror
        self._prepare = prepare
        self._prepared: set[Component] = set()
        self._budget = Budget(space.budget)
        self._ids: dict[int, int] = {}  # number in the study -> id in the store
        self._asked: dict[int, Asked] = {}  # in training
        self._seen: dict[str, int] = {}  # key of a result -> number of the trial of this study that has it
        self._study = self._remembered()
        self._again = deque(store.unfinished(study_id))
        self._seen.update({row["identity"]: row["number"] for row in self._again})
        self._all_known = False
        self._candidates = Candidates(space, self._study, data, data_fingerprint)

    def propose(self) -> Proposal | None:
        """Return the next network that is worth training, or None when the sweep is complete.

        Raises:
            RunError: nothing that the sampler proposes fits the budget.
        """
        while self._again:
            if (proposal := self._resumed(self._again.popleft())) is not None:
                return proposal
        while self.progress.done + len(self.progress.running) < self.progress.planned:
            exhausted = self._candidates.total is not None and len(self._seen) >= self._candidates.total
            self._budget.check(last=exhausted and not self.progress.done and not self.progress.running)
            asked = None if exhausted else self._candidates.next(self._seen, self._tell_again)
            if asked is None:
                if not self._all_known:
                    self.progress.say(f"{len(self._seen)} networks are known, and there is no other in this space")
                self._all_known = True
                return None
            if (proposal := self._gated(asked)) is not None:
                return proposal
        return None

    def started(self, trial: int, *, host: str, device: str) -> None:
        """A worker has begun with it."""
        self._store.start(self._ids[trial], host, device)

    def epoch(self, trial: int, epoch: Epoch) -> None:
        """Record an epoch, before it counts."""
        self._store.epoch(self._ids[trial], epoch)
        self._budget.hit()
        self.progress.epoch(trial, epoch)

    def retried(self, trial: int, reason: str) -> None:
        """Record that a trial has lost its worker and goes on with another."""
        self._store.retry(self._ids[trial], reason)
        self.progress.say(f"trial {trial}: goes on with another worker ({reason})")

    def ended(self, trial: int, outcome: Outcome) -> None:
        """Record an outcome and tell the sampler."""
        asked = self._asked.pop(trial)
        if isinstance(outcome, Finished):
            outcome = self._checked(trial)
        row = self._closed(trial, outcome)
        if not isinstance(outcome, Interrupted):
            self._tell(asked.trial, row)

    def check(self) -> None:
        """To be called when the sweep is over.

        Raises:
            RunError: nothing could be trained.
        """
        self._budget.check(last=not self.progress.done)

    # Resume

    def _remembered(self) -> optuna.Study:
        """Rebuild the sampler's memory from the store: Optuna's own storage would cost 100 ms a trial."""
        told = self._store.told(self._study_id)
        study = optuna.create_study(
            directions=["maximize" if goal == "max" else "minimize" for goal in self._space.objectives.values()],
            # A resumed sampler must not draw the same numbers again.
            sampler=sampler(self._space.search.sampler, self._space.search.seed + len(told)),
        )
        for row in told:
            self._seen.setdefault(row["identity"], row["number"])
            if row["state"] in _FINAL:
                self._result(row)
        questions = {question.path: distribution(question) for question in self._space.questions()}
        for row in told:
            params = {path: value for path, value in parameters(row["answers"]).items() if path in questions}
            asked = {path: questions[path] for path in params}
            frozen = feedback(row, self._space.objectives, assumed=self._assumed()).frozen(params, asked, row["number"])
            study.add_trial(frozen)
            self._copy(frozen)
        self.progress.carry(Counter(row["state"] for row in told))
        return study

    def _resumed(self, row: Mapping[str, Any]) -> Proposal | None:
        """Hand out again what a run before this one did not bring to an end; None where nothing is left to train."""
        number = row["number"]
        self._store.requeue(row["id"])
        self._ids[number] = row["id"]
        asked = self._candidates.fixed(row["answers"])
        if not row["started"]:
            # It may have been recorded a moment before the gates would have turned it away.
            return self._passed(number, asked, *self._costed(asked))
        proposal = self._proposal(number, asked, {name: row[name] for name in _COSTS}, done=row["epochs"])
        if proposal.done < proposal.epochs:
            return proposal
        # Its last epoch was recorded, its end was not.
        self.ended(number, Finished())
        return None

    # Gates

    def _gated(self, asked: Asked) -> Proposal | None:
        """Record a candidate; train it only if nobody did, it can be built, and it fits the budget."""
        number = self._store.next_number(self._study_id)
        self._seen[asked.key] = number
        cost, refusal = self._costed(asked)
        self._record(number, asked, cost)
        return self._passed(number, asked, cost, refusal)

    def _passed(self, number: int, asked: Asked, cost: Cost | None, refusal: Outcome | None) -> Proposal | None:
        """Close a recorded candidate that need not be trained; hand out any other."""
        known = self._store.known(asked.key)
        if refusal is not None:
            self._tell(asked.trial, self._closed(number, refusal))
            return None
        if known is not None:
            self._store.replay(self._ids[number], known["id"])
            self.progress.end(number, "replayed", note=f"trained as trial {known['number']} of {known['study']}")
            self._tell(asked.trial, self._row(number))
            return None
        assert cost is not None
        return self._proposal(number, asked, asdict(cost), done=0)

    def _costed(self, asked: Asked) -> tuple[Cost | None, Outcome | None]:
        protocol = asked.protocol
        try:
            cost = cost_of(
                asked.candidate.architecture,
                size=protocol.size,
                classes=protocol.classes,
                image_channels=protocol.image_channels,
            )
        except BlockError as error:
            return None, Failed(reason=f"cannot be built: {error}")
        return cost, self._budget.exceeded(asdict(cost))

    def _record(self, number: int, asked: Asked, cost: Cost | None) -> None:
        candidate = asked.candidate
        self._ids[number] = self._store.propose(
            self._study_id,
            number,
            identity=asked.key,
            architecture=candidate.architecture,
            protocol=asked.protocol,
            seed=self._space.search.seed,
            cost=None if cost is None else asdict(cost),
            answers=candidate.answers,
            choices=choices_of(candidate.architecture, asked.protocol),
            epochs=asked.protocol.recipe().epochs,
        )

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
        )
        self._asked[number] = asked
        self.progress.start(proposal)
        return proposal

    def _closed(self, number: int, outcome: Outcome) -> Mapping[str, Any]:
        """Record how a trial ended and return what the store has of it."""
        self._store.end(self._ids[number], outcome)
        row = self._row(number)
        if isinstance(outcome, Rejected) or (isinstance(outcome, Failed) and not row["epochs"]):
            self._budget.miss(outcome)
        self.progress.end(number, row["state"], outcome)
        return row

    # Feedback

    def _checked(self, trial: int) -> Outcome:
        """A finished trial whose objectives are not numbers has failed."""
        row = self._row(trial)
        odd = [n for n in self._space.objectives if row.get(n) is None or not math.isfinite(row[n])]
        return Failed(reason=f"no usable value of {', '.join(odd)}") if odd else Finished()

    def _row(self, number: int) -> Mapping[str, Any]:
        row = self._store.trial(self._study_id, number)
        assert row is not None
        return row

    def _result(self, row: Mapping[str, Any]) -> None:
        self.progress.result(row["number"], {name: row[name] for name in self._space.objectives})

    def _assumed(self) -> dict[str, float]:
        """Means of the final results so far: what a model may assume of a network that was never trained."""
        points = self.progress.points
        return {n: sum(p[n] for p in points) / len(points) for n in self._space.objectives} if points else {}

    def _tell(self, trial: optuna.Trial, row: Mapping[str, Any]) -> None:
        if row["state"] in _FINAL:
            self._result(row)
        trial.set_user_attr("trial", row["number"])
        self._copy(feedback(row, self._space.objectives, assumed=self._assumed()).tell(self._study, trial))

    def _tell_again(self, asked: Asked) -> None:
        """The sampler proposed a network that this study has: it hears what is recorded, and nothing is trained."""
        row = self._row(self._seen[asked.key])
        feedback(row, self._space.objectives, assumed=self._assumed()).tell(self._study, asked.trial)

    def _copy(self, frozen: optuna.trial.FrozenTrial) -> None:
        if self._mirror is not None:
            self._mirror.add(frozen)
