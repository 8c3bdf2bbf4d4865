"""Ask Optuna for candidates until there is one that the study does not know."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import optuna

from blocks.catalogue import versions
from blocks.errors import SpaceError
from nas.propose.modelled import Modelled
from nas.propose.pool import neighbours
from nas.propose.samplers import ask, parameters
from nas.space import Candidate, Forbidden, Space
from runners.data import DataInfo
from runners.identity import Parent, descended, identity
from runners.protocol import Protocol

Origin = Literal["sampler", "grid", "neighbour", "random"]

_PATIENCE = 10  # known networks in a row before an unseen one is looked for without the sampler
_TRIES = 300  # neighbours, and then random candidates, that are looked at for that
_SEARCHED = 100_000  # spaces up to this size are searched through after that


@dataclass(frozen=True, slots=True)
class Asked:
    """A candidate, the Optuna trial that carries it, and the key of its result.

    Args:
        trial: in Optuna's study.
        candidate: what the space makes of its answers.
        protocol: how it is trained and judged.
        key: of its result after a fresh start; a study has each once.
        origin: who chose it.
        repeats: known networks that the sampler proposed just before it. [count]
        parent: whose weights it begins with, or None.
    """

    trial: optuna.Trial
    candidate: Candidate
    protocol: Protocol
    key: str
    origin: Origin = "sampler"
    repeats: int = 0
    parent: Parent | None = None

    @property
    def identity(self) -> str:
        """The key of its result."""
        return descended(self.key, self.parent.identity if self.parent else None)


class Candidates:
    """The sampler's proposals for one study.

    Args:
        space: what may vary.
        study: Optuna's, in memory.
        data: what the networks are for.
        data_fingerprint: of its files.
        model: proposes in Optuna's place, or None.
    """

    def __init__(
        self,
        space: Space,
        study: optuna.Study,
        data: DataInfo,
        data_fingerprint: str,
        *,
        model: Modelled | None = None,
    ) -> None:
        self._space = space
        self._study = study
        self._data = data
        self._data_fingerprint = data_fingerprint
        # The grid is enumerated here and Optuna is handed every answer; nothing is left to sample.
        self._grid = space.enumerate() if space.search.sampler.name == "grid" else None
        self._model = model
        self._questions = {question.path: question for question in space.questions()}
        self._last: Candidate | None = None  # what the sampler proposed last
        self.total = _total(space)  # different trainings in the space, where that is known

    def next(self, seen: Collection[str], known: Callable[[Asked], None]) -> Asked | None:
        """Return a candidate whose key is not among those seen, or None when there is none to be found.

        Args:
            seen: keys that this study has.
            known: called with each candidate that it has already, so that the sampler can be told.
        """
        repeats = 0
        while (asked := self._one(seen, repeats)) is not None and asked.key in seen:
            repeats += 1
            known(asked)
        return None if asked is None else replace(asked, repeats=repeats)

    def fixed(self, answers: Mapping[str, Any], origin: Origin = "sampler") -> Asked:
        """The candidate with these answers, as an Optuna trial like any other."""
        self._study.enqueue_trial(parameters(answers))
        return replace(self._asked(), origin=origin)

    def key(self, row: Mapping[str, Any]) -> str:
        """The key that a recorded network of this space has where it starts fresh: none is trained twice."""
        if row["parent"] is None:
            return str(row["identity"])
        return self._key(self._space.choose(lambda question: row["answers"][question.path]))

    def exhausted(self, known: int) -> str:
        """Say why there is no other candidate."""
        if self.total is not None and (self._grid is not None or self.total <= _SEARCHED):
            return f"the space is exhausted: all {known} networks in it are known"
        return f"no network was found in {2 * _TRIES} tries that is not among the {known} known"

    def _one(self, seen: Collection[str], repeats: int) -> Asked | None:
        if self._grid is not None:
            following = next(self._grid, None)
            return None if following is None else self.fixed(following.answers, "grid")
        if self._model is not None:
            found = self._model.propose()
            return self._unseen(seen) if found is None else self.fixed(found.answers)
        if repeats < _PATIENCE:
            for _ in range(_PATIENCE):
                try:
                    return self._asked()
                except Forbidden:
                    continue
        return self._unseen(seen)

    def _asked(self) -> Asked:
        """What the sampler proposes, or what was enqueued; a trial that comes to nothing is closed."""
        trial = self._study.ask()
        try:
            asked = self._keyed(trial, self._space.choose(partial(ask, trial)))
        except BaseException:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        self._last = asked.candidate
        return asked

    def _unseen(self, seen: Collection[str]) -> Asked | None:
        """A candidate that is new to the study: a neighbour of what the sampler likes, a random one, or just any."""
        rng = random.Random(self._space.search.seed + len(seen))
        chosen = (self._space.sample(rng) for _ in range(_TRIES))
        ways: list[tuple[Origin, Iterator[Candidate]]] = [
            ("neighbour", itertools.islice(self._around(rng), _TRIES)),
            ("random", chosen),
        ]
        if self.total is not None and self.total <= _SEARCHED:
            ways.append(("random", self._space.enumerate()))
        for origin, candidates in ways:
            found = next((c for c in candidates if self._key(c) not in seen), None)
            if found is not None:
                return self.fixed(found.answers, origin)
        return None

    def _around(self, rng: random.Random) -> Iterator[Candidate]:
        """Neighbours of what the sampler proposed last."""
        return iter(()) if self._last is None else neighbours(self._space, self._questions, self._last.answers, rng)

    def _keyed(self, trial: optuna.Trial, candidate: Candidate) -> Asked:
        return Asked(trial, candidate, self._protocol(candidate), self._key(candidate))

    def _key(self, candidate: Candidate) -> str:
        return key_of(self._space, candidate, self._data, self._data_fingerprint)

    def _protocol(self, candidate: Candidate) -> Protocol:
        return protocol_of(self._space, candidate, self._data, self._data_fingerprint)


def protocol_of(space: Space, candidate: Candidate, data: DataInfo, data_fingerprint: str) -> Protocol:
    """How a candidate of a space is trained and judged."""
    return Protocol(
        data=space.data,
        data_fingerprint=data_fingerprint,
        size=data.size,
        classes=data.classes,
        image_channels=data.image_channels,
        training=candidate.training,
        main=candidate.main,
        coarse=candidate.coarse,
        auxiliary=candidate.auxiliary,
        weights=space.weights_hash,
    )


def key_of(space: Space, candidate: Candidate, data: DataInfo, data_fingerprint: str) -> str:
    """The key of a candidate's result."""
    protocol = protocol_of(space, candidate, data, data_fingerprint)
    known = versions(candidate.architecture, protocol.losses())
    return identity(candidate.architecture, protocol, space.search.seed, known)


def _total(space: Space) -> int | None:
    if not all(question.discrete for question in space.questions()):
        return None
    try:
        return space.candidates()
    except SpaceError:
        # Too entangled to be counted; then it is large enough not to be exhausted.
        return None
