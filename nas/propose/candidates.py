"""Ask Optuna for candidates until there is one that the study does not know."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna

from blocks.catalogue import versions
from blocks.errors import SpaceError
from nas.propose.samplers import ask, parameters
from nas.space import Candidate, Forbidden, Space
from runners.data import DataInfo
from runners.protocol import Protocol, identity

_PATIENCE = 10  # known networks in a row before an unseen one is looked for without the sampler
_TRIES = 300  # random candidates that are looked at for that
_SEARCHED = 100_000  # spaces up to this size are searched through after that


@dataclass(frozen=True, slots=True)
class Asked:
    """A candidate, the Optuna trial that it came from, and the key of its result."""

    trial: optuna.Trial
    candidate: Candidate
    protocol: Protocol
    key: str


class Candidates:
    """The sampler's proposals for one study.

    Args:
        space: what may vary.
        study: Optuna's, in memory.
        data: what the networks are for.
        data_fingerprint: of its files.
    """

    def __init__(self, space: Space, study: optuna.Study, data: DataInfo, data_fingerprint: str) -> None:
        self._space = space
        self._study = study
        self._data = data
        self._data_fingerprint = data_fingerprint
        # The grid is enumerated here and Optuna is handed every answer; nothing is left to sample.
        self._grid = space.enumerate() if space.search.sampler.name == "grid" else None
        self._known_in_a_row = 0
        self.total = _total(space)  # different trainings in the space, where that is known

    def next(self, seen: Collection[str], known: Callable[[Asked], None]) -> Asked | None:
        """Return a candidate whose key is not among those seen, or None when there is none to be found.

        Args:
            seen: keys that this study has.
            known: called with each candidate that it has already, so that the sampler can be told.
        """
        while True:
            asked = self._one(seen)
            if asked is None or asked.key not in seen:
                self._known_in_a_row = 0
                return asked
            self._known_in_a_row += 1
            known(asked)

    def fixed(self, answers: Mapping[str, Any]) -> Asked:
        """The candidate with these answers, as an Optuna trial like any other."""
        self._study.enqueue_trial(parameters(answers))
        trial = self._study.ask()
        return self._keyed(trial, self._space.choose(partial(ask, trial)))

    def _one(self, seen: Collection[str]) -> Asked | None:
        if self._grid is not None:
            following = next(self._grid, None)
        elif self._known_in_a_row >= _PATIENCE:
            following = self._unseen(seen)
        else:
            return self._sampled(seen)
        return None if following is None else self.fixed(following.answers)

    def _sampled(self, seen: Collection[str]) -> Asked | None:
        for _ in range(_PATIENCE):
            trial = self._study.ask()
            try:
                return self._keyed(trial, self._space.choose(partial(ask, trial)))
            except Forbidden:
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        unseen = self._unseen(seen)
        return None if unseen is None else self.fixed(unseen.answers)

    def _unseen(self, seen: Collection[str]) -> Candidate | None:
        """A random candidate that is new to the study; a small space is searched to its end."""
        rng = random.Random(self._space.search.seed + len(seen))
        for _ in range(_TRIES):
            candidate = self._space.sample(rng)
            if self._key(candidate) not in seen:
                return candidate
        if self.total is None or self.total > _SEARCHED:
            return None
        return next((c for c in self._space.enumerate() if self._key(c) not in seen), None)

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
