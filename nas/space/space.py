"""A search space: read, checked, and ready to be counted, sampled and asked."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from blocks.architecture import Architecture, Component
from blocks.errors import SpaceError, law
from blocks.options import Value
from nas.space import count, tree
from nas.space.ablation import Ablation
from nas.space.files import as_root, extended, find, load, with_sets
from nas.space.mistakes import Mistakes
from nas.space.nodes import Scalar, Table, plain
from nas.space.published import Published
from nas.space.questions import Question, drawn
from nas.space.reader import read
from nas.space.root import built
from nas.space.sections import Resources, Search
from nas.space.tree import Ask, Candidate, Forbidden, Tree

_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")
_DRAWS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What a file says, all of it: made by `load` or `loads` and never changed.

    Args:
        name: of the space, and of a study unless that is given one.
        data: the data set and its options, complete.
        place: where the data lie, as written; `places()` fills in environment variables.
        objectives: name -> `max` or `min`.
        budget: what a candidate may cost at most.
        search: sampler, trials, early stopping, seed.
        resources: what a trial gets of the machine.
        published: what others print about the network, where the file describes a known one.
        ablation: which of its networks are compared, where the file says so.
        weights: the file that networks start from, as written; `weights_file()` fills in environment variables.
        weights_hash: of its contents, once somebody has read it: `training.weights` is a path here, but a hash in the
            protocol, so that a result is known to depend on the file and not on where it lies.
        text: the whole space after `extends:` and `--set`, for `loads`.
        source: the file, where there is one.
    """

    name: str
    data: Component
    place: Mapping[str, str]
    objectives: Mapping[str, str]
    budget: Mapping[str, float]
    search: Search
    resources: Resources
    published: Published | None
    ablation: Ablation | None = None
    weights: str = ""
    weights_hash: str = ""
    text: str
    source: Path | None = None
    tree: Tree = field(repr=False)

    @classmethod
    def load(cls, name: str | Path, sets: Sequence[str] = ()) -> Self:
        """Read the shipped space of this name, or a file.

        Args:
            name: e.g. `quickstart`, or a path.
            sets: changes as on the command line: `path.in.the.file=value`.

        Raises:
            SpaceError: there is no such file, or it is wrong: every mistake with its file, line and column.
        """
        path = find(name)
        mistakes = Mistakes()
        return cls._made(load(path, mistakes), path.stem, sets, mistakes, path)

    @classmethod
    def loads(cls, text: str | bytes, name: str = "space", sets: Sequence[str] = ()) -> Self:
        """Read a space from a text.

        Raises:
            SpaceError: the text is wrong: every mistake with its line and column.
        """
        mistakes = Mistakes()
        root = extended(as_root(read(text, name, mistakes), mistakes), None, mistakes)
        return cls._made(root, name, sets, mistakes, None)

    @classmethod
    def _made(cls, root: Table | None, name: str, sets: Sequence[str], mistakes: Mistakes, source: Path | None) -> Self:
        if root is None:
            mistakes.raise_any(name)
            raise AssertionError("an unread file without a mistake")
        root = with_sets(root, sets, mistakes)
        parts = built(root, name, mistakes)
        mistakes.raise_any(name)
        assert parts is not None
        whole = root.replaced("name", Scalar(parts["name"], root.mark), root.mark)
        return cls(**parts, text=_written(whole), source=source)

    def places(self) -> dict[str, str]:
        """Where the data lie, with `${VARIABLES}` and `~` filled in.

        Raises:
            SpaceError: a variable is not set.
        """
        return {key: _expanded(f"data.{self.data.name}.{key}", text) for key, text in self.place.items()}

    def weights_file(self) -> Path | None:
        """The file that networks start from, with `${VARIABLES}` and `~` filled in, or None.

        Raises:
            SpaceError: a variable is not set.
        """
        return Path(_expanded("training.weights", self.weights)).absolute() if self.weights else None

    def choose(self, ask: Ask) -> Candidate:
        """Turn answers into a candidate, asking only what exists given the answers so far, in a stable order.

        Raises:
            Forbidden: the answers meet an entry of `forbid:`.
            ValueError: `ask` gave an answer that the question does not take.
        """
        return tree.choose(self.tree, ask)

    def questions(self) -> tuple[Question, ...]:
        """Every question that may be asked, once each."""
        return tree.questions(self.tree)

    def count(self) -> int:
        """The exact number of distinct architectures; continuous questions count as one answer. [count]"""
        return count.architectures(self.tree)

    def settings(self) -> int:
        """The exact number of distinct training settings; continuous questions count as one answer. [count]"""
        return count.settings(self.tree)

    def candidates(self) -> int:
        """The exact number of combinations of both; continuous questions count as one answer. [count]"""
        return count.candidates(self.tree)

    def enumerate(self) -> Iterator[Candidate]:
        """Yield every candidate once, in the order of the file.

        Raises:
            SpaceError: a question is continuous.
        """
        self._check_discrete(self.questions())
        return self._all(None)

    def architectures(self) -> Iterator[Architecture]:
        """Yield every architecture once, in the order of the file; questions about the training may be continuous.

        Raises:
            SpaceError: a question about the architecture is continuous.
        """
        own = {q.path: q for q in tree.architecture_questions(self.tree)}
        self._check_discrete(own.values())
        found = (candidate.architecture for candidate in self._all(lambda question: question.path in own))
        # A shared question that only the training asks here leaves neighbours that are equal.
        return (architecture for architecture, _ in itertools.groupby(found))

    def backbones(self) -> Iterator[Architecture]:
        """Yield an architecture for each way to answer the questions about the backbone."""
        return (c.architecture for c in self._all(lambda question: question.path.startswith("architecture.backbone")))

    def _check_discrete(self, questions: Iterable[Question]) -> None:
        continuous = [q.path for q in questions if not q.discrete]
        if continuous:
            remedy = "Give it a step, or sample instead"
            raise SpaceError(law("Enumeration", "discrete questions", {"continuous": ", ".join(continuous)}, remedy))

    def _all(self, counts: Callable[[Question], bool] | None) -> Iterator[Candidate]:
        """Yield a candidate for each combination of answers to the questions that count; None: all of them do."""
        # A digit is a question and its answers, the standing one first; the last turns fastest and may open others.
        digits: list[tuple[Question, list[Value]]] = []
        while True:
            position = 0

            def ask(question: Question) -> Value:
                nonlocal position
                if position == len(digits):
                    digits.append((question, list(question.domain) if question.discrete else [question.domain.first]))
                position += 1
                return digits[position - 1][1][0]

            with contextlib.suppress(Forbidden):
                yield self.choose(ask)
                while counts and digits and not counts(digits[-1][0]):
                    digits.pop()
            while digits and len(digits[-1][1]) == 1:
                digits.pop()
            if not digits:
                return
            digits[-1][1].pop(0)

    def sample(self, rng: random.Random) -> Candidate:
        """Draw a candidate: every question by chance, forbidden combinations drawn again.

        Raises:
            SpaceError: none was allowed in 1,000 draws.
        """
        for _ in range(_DRAWS):
            try:
                return self.choose(lambda question: drawn(question.domain, rng))
            except Forbidden:
                continue
        got = {"draws": _DRAWS, "rules": len(self.tree.rules)}
        raise SpaceError(law(f"Space {self.name}", "candidates that `forbid:` allows", got, "Forbid less"))


def _written(root: Table) -> str:
    """YAML with a line for each section; JSON behind its key is YAML too."""
    lines = (
        f"{key}: {json.dumps(plain(node), ensure_ascii=False, allow_nan=False)}" for key, node in root.entries.items()
    )
    return "\n".join(lines) + "\n"


def _expanded(path: str, text: str) -> str:
    """Fill in `${VARIABLES}` and `~`; `path` is the place in the file, for people."""
    for match in _VARIABLE.finditer(text):
        variable = match[1] or match[2]
        if not os.environ.get(variable):
            remedy = f"export {variable}=PATH or --set {path}=PATH"
            raise SpaceError(law(path, "an environment variable that is set", {"variable": variable}, remedy))
    return str(Path(_VARIABLE.sub(lambda m: os.environ[m[1] or m[2]], text)).expanduser())
