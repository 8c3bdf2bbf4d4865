"""Optuna samples, the gates decide what is worth training, the store remembers, and the sampler hears the truth."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import optuna

from blocks.architecture import Component
from blocks.catalogue import versions
from blocks.cost import Cost, cost_of
from blocks.errors import BlockError, RunError
from nas.propose.feedback import feedback
from nas.propose.mirror import Mirror
from nas.propose.progress import Progress
from nas.propose.samplers import ask, distribution, parameters, sampler
from nas.space import Candidate, Forbidden, Question, Space
from nas.store import Store, choices_of
from runners.data import DataInfo
from runners.protocol import Epoch, Failed, Finished, Interrupted, Outcome, Proposal, Protocol, Rejected, identity

MEASURED = frozenset({"latency_ms", "peak_memory_bytes"})  # known only on the worker's device
_FINAL = ("finished", "replayed")
_PATIENCE = 10  # known networks in a row before the proposer looks for an unseen one itself
_TRIES = 300  # random candidates that it looks at for that
_HOPELESS = 60  # networks over budget in a row that end the sweep


@dataclass(frozen=True, slots=True)
class _Asked:
    """A candidate and the Optuna trial it came from."""

    trial: optuna.Trial
    candidate: Candidate
    protocol: Protocol
    key: str


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
        prepare: called with a backbone before the first network that has it is trained: fetches weights.
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
        prepare: Callable[[Component], None] = lambda backbone: None,
    ) -> None:
        self._space = space
        self._store = store
        self._study_id = study_id
        self._data = data
        self._data_fingerprint = data_fingerprint
        self.progress = progress
        self._mirror = mirror
        self._prepare = prepare
        self._prepared: set[Component] = set()
        self._questions: dict[str, Question] = {q.path: q for q in space.questions()}
        self._rows: dict[int, int] = {}  # number in the study -> id in the store
        self._asked: dict[int, _Asked] = {}
        self._seen: dict[str, int] = {}  # identity -> number of the trial of this study that has it
        self._duplicates = 0
        self._misses = 0
        self._least: dict[str, float] = {}  # the least that a rejected network asked of a limit
        self._study = self._begin()
        self._again = self._unfinished()
        self._grid = space.enumerate() if space.search.sampler.name == "grid" else None
        self._total = _distinct(space)

    # Runner's side

    def propose(self) -> Proposal | None:
        """Return the next network that is worth training, or None when the sweep is complete.

        Raises:
            RunError: nothing that the sampler proposes fits the budget.
        """
        for number, row in self._again:
            return self._resumed(number, row)
        while self.progress.done + len(self.progress.running) < self.progress.planned:
            if self._total is not None and len(self._seen) >= self._total:
                self.progress.say(f"all {self._total} networks of this space are known: nothing is left to train")
                return None
            asked = self._next()
            if asked is None:
                return None
            proposal = self._gated(asked)
            if proposal is not None:
                return proposal
        return None

    def started(self, trial: int, *, host: str, device: str) -> None:
        """A worker has begun with it."""
        self._store.start(self._rows[trial], host, device)

    def epoch(self, trial: int, epoch: Epoch) -> None:
        """Record an epoch, before it counts."""
        self._store.epoch(self._rows[trial], epoch)
        self.progress.epoch(trial, epoch)

    def ended(self, trial: int, outcome: Outcome) -> None:
        """Record an outcome and tell the sampler."""
        if isinstance(outcome, Finished):
            outcome = self._checked(trial)
        self._store.end(self._rows[trial], outcome)
        row = self._row(trial)
        self.progress.end(trial, row["state"], outcome)
        if not isinstance(outcome, Interrupted):
            self._tell(self._asked.pop(trial).trial, row)

    # Resume

    def _begin(self) -> optuna.Study:
        """Rebuild the sampler's memory from the store: Optuna's own storage would cost 100 ms a trial."""
        told = self._store.told(self._study_id)
        goals = self._space.objectives.values()
        study = optuna.create_study(
            directions=["maximize" if goal == "max" else "minimize" for goal in goals],
            # A resumed sampler must not draw the same numbers again.
            sampler=sampler(self._space.search.sampler, self._space.search.seed + len(told)),
        )
        for row in told:
            self._seen.setdefault(row["identity"], row["number"])
            if row["state"] in _FINAL:
                self._result(row)
        for row in told:
            answers = row["answers"]
            known = {path: distribution(self._questions[path]) for path in answers if path in self._questions}
            params = {path: value for path, value in parameters(answers).items() if path in known}
            frozen = feedback(row, self._space.objectives, assumed=self._assumed()).frozen(params, known, row["number"])
            study.add_trial(frozen)
            if self._mirror is not None:
                self._mirror.add(frozen)
        self.progress.carry(Counter(row["state"] for row in told))
        return study

    def _unfinished(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Trials that a run before this one did not bring to an end, one at a time."""
        rows = self._store.unfinished(self._study_id)
        for row in rows:
            self._seen.setdefault(row["identity"], row["number"])
        return iter([(row["number"], row) for row in rows])

    def _resumed(self, number: int, row: Mapping[str, Any]) -> Proposal:
        self._store.requeue(row["id"])
        asked = self._fixed(row["answers"])
        self._rows[number], self._asked[number] = row["id"], asked
        cost = {name: row[name] for name in ("params", "macs", "macs_conv", "activation_bytes")}
        return self._proposal(number, asked, cost, done=row["epochs"])

    # Sampling

    def _next(self) -> _Asked | None:
        """Ask until there is a candidate that this study does not know."""
        while True:
            if self._grid is not None:
                answers = next(self._grid, None)
                if answers is None:
                    return None
                asked: _Asked | None = self._fixed(answers.answers)
            elif self._duplicates >= _PATIENCE:
                unseen = self._unseen()
                if unseen is None:
                    self.progress.say(f"no unseen network in {_TRIES} random tries: the space is as good as exhausted")
                    return None
                asked = self._fixed(unseen.answers)
            else:
                asked = self._sampled()
            if asked is None:
                continue
            if asked.key not in self._seen:
                self._duplicates = 0
                return asked
            # Known in this study: the sampler hears what is recorded, nothing is trained or listed again.
            self._duplicates += 1
            self._tell_again(asked)

    def _sampled(self) -> _Asked | None:
        trial = self._study.ask()
        try:
            return self._keyed(trial, self._space.choose(lambda question: ask(trial, question)))
        except Forbidden:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            self._duplicates += 1
            return None

    def _fixed(self, answers: Mapping[str, Any]) -> _Asked:
        """An Optuna trial whose answers are given."""
        self._study.enqueue_trial(parameters(answers))
        trial = self._study.ask()
        return self._keyed(trial, self._space.choose(lambda question: ask(trial, question)))

    def _keyed(self, trial: optuna.Trial, candidate: Candidate) -> _Asked:
        protocol = self._protocol(candidate)
        return _Asked(trial, candidate, protocol, self._identity(candidate, protocol))

    def _protocol(self, candidate: Candidate) -> Protocol:
        return Protocol(
            data=self._space.data,
            data_fingerprint=self._data_fingerprint,
            size=self._data.size,
            classes=self._data.classes,
            image_channels=self._data.image_channels,
            training=candidate.training,
            main=candidate.main,
            coarse=candidate.coarse,
        )

    def _identity(self, candidate: Candidate, protocol: Protocol) -> str:
        return identity(candidate.architecture, protocol, self._space.search.seed, versions(candidate.architecture))

    def _unseen(self) -> Candidate | None:
        """A random candidate that this study does not know; for a small space the search is complete."""
        rng = random.Random(self._space.search.seed + len(self._seen))
        for _ in range(_TRIES):
            candidate = self._space.sample(rng)
            if not self._known(candidate):
                return candidate
        if self._total is None or self._total > 100_000:
            return None
        return next((c for c in self._space.enumerate() if not self._known(c)), None)

    def _known(self, candidate: Candidate) -> bool:
        return self._identity(candidate, self._protocol(candidate)) in self._seen

    # Gates

    def _gated(self, asked: _Asked) -> Proposal | None:
        """Record a candidate; train it only if nobody did, it can be built, and it fits the budget."""
        number = self._store.next_number(self._study_id)
        self._seen[asked.key] = number
        known = self._store.known(asked.key)
        try:
            cost = cost_of(
                asked.candidate.architecture,
                size=asked.protocol.size,
                classes=asked.protocol.classes,
                image_channels=asked.protocol.image_channels,
            )
            problem = None
        except BlockError as error:
            cost, problem = None, Failed(reason=f"cannot be built: {error}")
        self._record(number, asked, cost)
        over = None if cost is None else self._over(asdict(cost))
        if problem is not None or over is not None:
            self._turned_down(number, asked, problem or over)
            return None
        if known is not None:
            self._store.replay(self._rows[number], known["id"])
            self.progress.end(number, "replayed", note=f"trained before as trial {known['number']} of {known['study']}")
            self._tell(asked.trial, self._row(number))
            return None
        assert cost is not None
        self._misses = 0
        self._asked[number] = asked
        return self._proposal(number, asked, asdict(cost), done=0)

    def _over(self, cost: Mapping[str, int]) -> Rejected | None:
        """The limit that is exceeded most, if any is."""
        limits = {name: limit for name, limit in self._space.budget.items() if name in cost}
        broken = [Rejected(name, float(cost[name]), limit) for name, limit in limits.items() if cost[name] > limit]
        return max(broken, key=lambda r: r.excess, default=None)

    def _turned_down(self, number: int, asked: _Asked, outcome: Outcome | None) -> None:
        assert outcome is not None
        self._store.end(self._rows[number], outcome)
        row = self._row(number)
        self.progress.end(number, row["state"], outcome)
        self._tell(asked.trial, row)
        self._misses += 1
        if isinstance(outcome, Rejected):
            self._least[outcome.limit] = min(outcome.value, self._least.get(outcome.limit, math.inf))
        exhausted = self._total is not None and len(self._seen) >= self._total
        if self._misses >= _HOPELESS or (exhausted and not self.progress.done and not self.progress.running):
            raise RunError(self._hopeless())

    def _hopeless(self) -> str:
        if not self._least:
            return f"None of the last {self._misses} candidates could be built. `nas trials` lists why."
        raised = [
            f"budget.{name} is {self._space.budget[name]:.4g}, the least that was proposed {value:.4g}"
            for name, value in self._least.items()
        ]
        return (
            f"A sweep needs networks within its budget: the last {self._misses} candidates exceed it. "
            f"Raise the budget or offer smaller networks: {'; '.join(raised)}."
        )

    def _record(self, number: int, asked: _Asked, cost: Cost | None) -> None:
        candidate = asked.candidate
        self._rows[number] = self._store.propose(
            self._study_id,
            number,
            identity=asked.key,
            architecture=candidate.architecture,
            protocol=asked.protocol,
            seed=self._space.search.seed,
            cost=None if cost is None else asdict(cost),
            answers=candidate.answers,
            choices=choices_of(candidate.architecture, asked.protocol),
            epochs=int(dict(candidate.training)["epochs"]),  # type: ignore[arg-type]
        )

    def _proposal(self, number: int, asked: _Asked, cost: Mapping[str, float], *, done: int) -> Proposal:
        backbone = asked.candidate.architecture.backbone
        if backbone not in self._prepared:
            self._prepare(backbone)
            self._prepared.add(backbone)
        proposal = Proposal(
            trial=number,
            architecture=asked.candidate.architecture,
            protocol=asked.protocol,
            seed=self._space.search.seed,
            known=dict(cost),
            limits={name: limit for name, limit in self._space.budget.items() if name in MEASURED},
            done=done,
        )
        self.progress.start(proposal)
        return proposal

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
        frozen = feedback(row, self._space.objectives, assumed=self._assumed()).tell(self._study, trial)
        if self._mirror is not None:
            self._mirror.add(frozen)

    def _tell_again(self, asked: _Asked) -> None:
        row = self._row(self._seen[asked.key])
        told = feedback(row, self._space.objectives, assumed=self._assumed())
        told.tell(self._study, asked.trial)


def _distinct(space: Space) -> int | None:
    """How many different trainings a space holds, or None where a question is continuous. [count]"""
    if any(not q.discrete for q in space.questions()):
        return None
    return space.candidates()
