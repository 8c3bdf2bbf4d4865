"""How many candidates a space has, exactly, without listing them.

The tree is walked once with a table of states instead of one candidate. A state is what later choices or an entry of
`forbid:` can still ask about: which conditions hold so far, and what shared questions were answered. All else
multiplies or adds up, so that a space of 10^12 architectures is counted as fast as one of ten.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from blocks.errors import SpaceError, law
from blocks.options import Option, Value, is_active
from nas.space.questions import Question, key
from nas.space.tree import Asked, Field, Fixed, Leaf, Part, Slot, Tree

MAX_WORK = 1_000_000
"""Steps after which a count is given up: a few seconds."""

REST = "\0the rest"
"""Stands for all answers that nothing distinguishes; no text in a file holds this character."""

Held = frozenset[tuple[int, int]]  # (rule, condition) pairs that hold
Known = frozenset[tuple[str, Value]]  # shared questions and their answers
State = tuple[Held, Known]
Gates = tuple[tuple[str, Value], ...]  # options that decide about others of the same part


@dataclass(slots=True)
class _Counting:
    tree: Tree
    left: int
    users: dict[str, list[tuple[str, Option, Part]]] = field(default_factory=dict)
    hits: dict[tuple[str, object], Held] = field(default_factory=dict)  # what holds where a place holds a value
    told_at: dict[str, list[Value]] = field(default_factory=dict)
    told: dict[str, list[tuple[Value, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for i, rule in enumerate(self.tree.rules):
            for j, condition in enumerate(rule.conditions):
                for value in condition.values:
                    self.told_at.setdefault(condition.path, []).append(value)
                    spot = (condition.path, key(value))
                    self.hits[spot] = self.hits.get(spot, frozenset()) | {(i, j)}
        for part in _parts(self.tree):
            for each in part.fields:
                if isinstance(each.leaf, Asked):
                    user = (f"{part.path}.{each.option.name}", each.option, part)
                    self.users.setdefault(each.leaf.question.path, []).append(user)

    # -- what is told apart ------------------------------------------------------------------------------------

    def mentioned(self, question: Question) -> list[Value]:
        """Answers that a condition or another option's existence tells from the rest."""
        values = list(self.told_at.get(question.path, ()))
        for path, option, part in self.users.get(question.path, ()):
            values += self.told_at.get(path, ())
            for other in part.fields:
                if other.option.when is not None and other.option.when.option == option.name:
                    values += other.option.when.values
        return values

    def classes(self, question: Question) -> list[tuple[Value, int]]:
        """Answers with how many they stand for: each mentioned one by itself, all others as one."""
        if question.path not in self.told:
            self.told[question.path] = self.split(question)
        return self.told[question.path]

    def split(self, question: Question) -> list[tuple[Value, int]]:
        domain, size = question.domain, question.domain.size
        if size is None:
            return [(REST, 1)]
        told = list({key(v): domain.settled(v) for v in self.mentioned(question) if v in domain}.values())
        rest = [(REST, size - len(told))] if size > len(told) else []
        return [(value, 1) for value in told] + rest

    def weight(self, known: Known, questions: dict[str, Question]) -> int:
        """How many combinations of shared answers a state stands for."""
        return math.prod(dict(self.classes(questions[path]))[value] for path, value in known)

    # -- the walk ----------------------------------------------------------------------------------------------

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            got = {"rules": len(self.tree.rules), "shared questions": len(_shared(self.tree))}
            raise SpaceError(law("A count", "`forbid:` entries that interact less", got, "Simplify `forbid:`"))

    def held(self, state: State, path: str, value: Value) -> State:
        hits = self.hits.get((path, key(value)))
        return (state[0] | hits, state[1]) if hits else state

    def pruned(self, states: Counter[State], done: tuple[str, ...]) -> Counter[State]:
        """Drop what is forbidden, and forget conditions of rules that can no longer be met."""
        prefixes = tuple(f"{path}." for path in done)
        decided = [
            {j for j, c in enumerate(rule.conditions) if c.path in done or c.path.startswith(prefixes)}
            for rule in self.tree.rules
        ]
        found: Counter[State] = Counter()
        for (held, known), count in states.items():
            self.spend(1 + len(held))
            met: dict[int, set[int]] = {}
            for i, j in held:
                met.setdefault(i, set()).add(j)
            if not any(len(js) == len(self.tree.rules[i].conditions) for i, js in met.items()):
                found[frozenset(h for h in held if decided[h[0]] <= met[h[0]]), known] += count
        return found

    def slot(self, states: Counter[State], slot: Slot) -> Counter[State]:
        found: Counter[State] = Counter()
        for name, part in slot.parts.items():
            self.spend(len(states))
            entered: Counter[State] = Counter()
            for state, count in states.items():
                entered[self.held(state, slot.path, name)] += count
            found.update(self.part(entered, part))
        return found

    def part(self, states: Counter[State], part: Part) -> Counter[State]:
        gates = {f.option.when.option for f in part.fields if f.option.when is not None}
        inner: Counter[tuple[State, Gates]] = Counter({(state, ()): count for state, count in states.items()})
        for each in part.fields:
            inner = self.field(inner, each, part.path, each.option.name in gates)
        found: Counter[State] = Counter()
        for (state, _), count in inner.items():
            found[state] += count
        return found

    def field(
        self, states: Counter[tuple[State, Gates]], each: Field, path: str, gate: bool
    ) -> Counter[tuple[State, Gates]]:
        found: Counter[tuple[State, Gates]] = Counter()
        option = each.option
        for (state, gates), count in states.items():
            if not is_active(option, dict(gates)):
                default = option.normal(option.default)
                found[state, (*gates, (option.name, default)) if gate else gates] += count
                continue
            for value, number, known in self.values(state, each.leaf):
                self.spend(1)
                own = value if value == REST else option.normal(value)
                after = self.held(known, f"{path}.{option.name}", own)
                found[after, (*gates, (option.name, own)) if gate else gates] += count * number
        return found

    def values(self, state: State, leaf: Leaf) -> Iterator[tuple[Value, int, State]]:
        """The classes of values a leaf can take in this state; shared answers count once, at the end."""
        if isinstance(leaf, Fixed):
            yield leaf.value, 1, state
            return
        question = leaf.question
        if not question.path.startswith("shared."):
            yield from ((value, number, state) for value, number in self.classes(question))
            return
        known = dict(state[1])
        values = [known[question.path]] if question.path in known else [v for v, _ in self.classes(question)]
        for value in values:
            yield value, 1, self.held((state[0], state[1] | {(question.path, value)}), question.path, value)

    # -- the two halves of a candidate -------------------------------------------------------------------------

    def architecture(self, states: Counter[State]) -> Counter[State]:
        for slot in self.tree.slots:
            states = self.pruned(self.slot(states, slot), (slot.path,))
        rest = tuple(f"{self.tree.rest.path}.{f.option.name}" for f in self.tree.rest.fields)
        return self.pruned(self.part(states, self.tree.rest), rest)

    def training(self, states: Counter[State]) -> Counter[State]:
        options = tuple(f"{self.tree.training.path}.{f.option.name}" for f in self.tree.training.fields)
        states = self.pruned(self.part(states, self.tree.training), options)
        for losses in self.tree.losses:
            for slot in losses:
                states = self.slot(states, slot)
            states = self.pruned(states, tuple(slot.path for slot in losses))
        return states

    def total(self, states: Counter[State]) -> int:
        questions = _shared(self.tree)
        return sum(count * self.weight(known, questions) for (_, known), count in states.items())


_START: State = (frozenset(), frozenset())


def architectures(tree: Tree, *, work: int = MAX_WORK) -> int:
    """Count the distinct architectures that some training setting allows; continuous questions count as one answer.

    Raises:
        SpaceError: the rules interact in more ways than can be followed.
    """
    counting = _Counting(tree, work)
    found = counting.architecture(Counter({_START: 1}))
    return counting.total(Counter({s: n for s, n in found.items() if counting.training(Counter({s: 1}))}))


def settings(tree: Tree, *, work: int = MAX_WORK) -> int:
    """Count the distinct training settings that some architecture allows; continuous questions count as one answer.

    Raises:
        SpaceError: the rules interact in more ways than can be followed.
    """
    counting = _Counting(tree, work)
    found = counting.training(Counter({_START: 1}))
    return counting.total(Counter({s: n for s, n in found.items() if counting.architecture(Counter({s: 1}))}))


def candidates(tree: Tree, *, work: int = MAX_WORK) -> int:
    """Count the combinations of architecture and training setting; continuous questions count as one answer.

    Raises:
        SpaceError: the rules interact in more ways than can be followed.
    """
    counting = _Counting(tree, work)
    return counting.total(counting.training(counting.architecture(Counter({_START: 1}))))


def _parts(tree: Tree) -> Iterator[Part]:
    yield from (tree.rest, tree.training)
    for slot in chain(tree.slots, *tree.losses):
        yield from slot.parts.values()


def _shared(tree: Tree) -> dict[str, Question]:
    leaves: Iterable[Leaf] = (f.leaf for part in _parts(tree) for f in part.fields)
    found = {leaf.question.path: leaf.question for leaf in leaves if isinstance(leaf, Asked)}
    return {path: question for path, question in found.items() if path.startswith("shared.")}
