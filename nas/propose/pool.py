"""The candidates that a model chooses from: all of a small space; of a large one, random ones and neighbours."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

import numpy as np

from blocks.errors import SpaceError
from blocks.options import Value
from nas.propose.surrogate import Array, Encoder
from nas.space import Candidate, Forbidden, Question, Space
from nas.space.questions import drawn, same

_LISTED = 2000  # candidates of a space that is looked at whole
_DRAWN = 100  # candidates by chance, of a larger one
_AROUND = 100  # neighbours of the best, of a larger one
_TRIES = 20  # drawings for each candidate by chance
_OTHERS = 16  # other answers to one question that are looked at


class Pool:
    """Candidates that were not taken yet.

    Args:
        space: what may vary.
        encoder: of the answers: candidates with equal answers are one.
    """

    def __init__(self, space: Space, encoder: Encoder) -> None:
        self._space = space
        self._encoder = encoder
        self._questions = {question.path: question for question in space.questions()}
        self._taken: set[bytes] = set()
        self._listed = [(c, encoder(c.answers)) for c in space.enumerate()] if _small(space) else None

    def take(self, place: Array) -> None:
        """Never offer it again."""
        self._taken.add(place.tobytes())

    def taken(self, place: Array) -> bool:
        """Tell whether it is not on offer."""
        return place.tobytes() in self._taken

    def drawn(self, rng: np.random.Generator, count: int, *, of_all: bool = False) -> list[tuple[Candidate, Array]]:
        """Some by chance; fewer where there are no more.

        Args:
            rng: for what is drawn.
            count: how many. [count]
            of_all: those that were taken, too.
        """
        if self._listed is not None:
            free = [entry for entry in self._listed if of_all or not self.taken(entry[1])]
            return [free[n] for n in rng.permutation(len(free))[:count]]
        chance = random.Random(int(rng.integers(2**32)))
        return list(self._new((self._space.sample(chance) for _ in range(_TRIES * count)), count, of_all=of_all))

    def candidates(
        self, rng: np.random.Generator, best: Sequence[Mapping[str, Value]]
    ) -> tuple[list[Candidate], Array]:
        """What to choose from.

        Args:
            rng: for what is drawn.
            best: answers around which a large space is looked at more closely.

        Returns:
            The candidates, and their places: (n, questions).
        """
        if self._listed is not None:
            found = [entry for entry in self._listed if not self.taken(entry[1])]
        else:
            chance = random.Random(int(rng.integers(2**32)))
            share = max(1, _AROUND // len(best)) if best else 0
            around = (c for answers in best for c in islice(self._around(answers, chance), share))
            found = list(
                self._new(chain(around, (self._space.sample(chance) for _ in range(_DRAWN))), _AROUND + _DRAWN)
            )
        return [candidate for candidate, _ in found], np.array([place for _, place in found])

    def _around(self, answers: Mapping[str, Value], chance: random.Random) -> Iterator[Candidate]:
        return neighbours(self._space, self._questions, answers, chance)

    def _new(
        self, candidates: Iterable[Candidate], count: int, *, of_all: bool = False
    ) -> Iterator[tuple[Candidate, Array]]:
        offered: set[bytes] = set()
        for candidate in candidates:
            place = self._encoder(candidate.answers)
            if (of_all or not self.taken(place)) and place.tobytes() not in offered:
                offered.add(place.tobytes())
                yield candidate, place
                if len(offered) == count:
                    return


def neighbours(
    space: Space, questions: Mapping[str, Question], answers: Mapping[str, Value], rng: random.Random
) -> Iterator[Candidate]:
    """Networks that differ in a single answer, and in what only exists through it, in random order."""
    changes = [(path, value) for path in answers for value in _others(questions[path], answers[path], rng)]
    rng.shuffle(changes)
    for path, value in changes:
        changed = {**answers, path: value}

        def answer(question: Question, changed: Mapping[str, Value] = changed) -> Value:
            # What only exists through the change is drawn.
            return changed[question.path] if question.path in changed else drawn(question.domain, rng)

        try:
            yield space.choose(answer)
        except Forbidden:
            continue


def _others(question: Question, value: Value, rng: random.Random) -> list[Value]:
    """A few other answers to a question."""
    size = question.size
    if size is not None and size <= _OTHERS:
        return [other for other in question.domain if not same(other, value)]
    drawings = (drawn(question.domain, rng) for _ in range(_OTHERS))
    return [other for other in drawings if not same(other, value)]


def _small(space: Space) -> bool:
    if not all(question.discrete for question in space.questions()):
        return False
    try:
        return space.candidates() <= _LISTED
    except SpaceError:
        return False  # too entangled to be counted
