"""A space as a tree of what is fixed and what is asked, and the walk that turns answers into one candidate.

The walk is define-by-run: it asks what exists given the answers so far and nothing else, always in the same order. What
stands behind `ask` (Optuna, an enumeration, a random generator) is not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Any

from blocks.architecture import Architecture, Component
from blocks.catalogue import component
from blocks.options import Option, Value, complete, is_active
from nas.space.questions import Question, same
from runners.training import Training

Ask = Callable[[Question], Value]
LOSSES: Mapping[str, str] = MappingProxyType({"main": "loss", "coarse": "loss", "auxiliary": "auxiliary"})
"""The keys of `training.losses` and the slot whose catalogue each takes from."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A value that stands in the file, or the default."""

    value: Value


@dataclass(frozen=True, slots=True)
class Asked:
    """A value that the answer to a question gives."""

    question: Question


Leaf = Fixed | Asked


@dataclass(frozen=True, slots=True)
class Field:
    """An option and where its value comes from."""

    option: Option
    leaf: Leaf


@dataclass(frozen=True, slots=True)
class Part:
    """The options of one thing, each after the options that decide whether it exists.

    Args:
        path: in front of each option's name, e.g. `architecture.context.ppm`.
        fields: all options, those that nobody wrote at their defaults.
    """

    path: str
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one component.

    Args:
        path: e.g. `architecture.context`.
        kind: whose catalogue it takes from, e.g. `context` or `loss`.
        parts: the components it may hold, by name.
        question: which of them; None where there is only one.
    """

    path: str
    kind: str
    parts: Mapping[str, Part]
    question: Question | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A place holds one of these values."""

    path: str
    values: tuple[Value, ...]

    def met(self, found: tuple[Value, ...]) -> bool:
        return any(same(value, f) for value in self.values for f in found)


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `forbid:`: a candidate that meets all of its conditions does not exist."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """All that a space fixes and asks; `rest` holds the options of the architecture that belong to no slot."""

    slots: tuple[Slot, ...]
    rest: Part
    training: Part
    main: tuple[Slot, ...]
    coarse: tuple[Slot, ...]
    auxiliary: tuple[Slot, ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def losses(self) -> tuple[tuple[Slot, ...], ...]:
        """Those on the logits, on the coarse logits, and on what else the network gives."""
        return self.main, self.coarse, self.auxiliary


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer to every question that exists for it.

    Args:
        architecture: the network, complete.
        training: the options of the recipe, complete and sorted.
        main: losses on the logits.
        coarse: losses on each of the coarse logits.
        auxiliary: losses on what else the network gives.
        answers: path of a question -> the value chosen (the name, where a component is chosen).
    """

    architecture: Architecture
    training: tuple[tuple[str, Value], ...]
    main: tuple[Component, ...]
    coarse: tuple[Component, ...]
    auxiliary: tuple[Component, ...]
    answers: Mapping[str, Value]


class Forbidden(Exception):  # noqa: N818 - an answer, not an error
    """The answers meet an entry of `forbid:`. No mistake of anybody's: whoever samples draws again."""

    def __init__(self, answers: Mapping[str, Value]) -> None:
        super().__init__(f"forbidden: {dict(answers)}")
        self.answers = answers


@dataclass(slots=True)
class _Walk:
    """One pass through the tree: what was asked and what every place holds."""

    ask: Ask
    answers: dict[str, Value] = field(default_factory=dict)
    facts: dict[str, tuple[Value, ...]] = field(default_factory=dict)

    def answer(self, question: Question) -> Value:
        if question.path not in self.answers:
            value = self.ask(question)
            if value not in question.domain:
                raise ValueError(f"{question.path} takes {question.domain}, not {value!r}")
            self.answers[question.path] = question.domain.settled(value)
            self.note(question.path, self.answers[question.path])
        return self.answers[question.path]

    def note(self, path: str, value: Value) -> None:
        self.facts[path] = (*self.facts.get(path, ()), value)

    def part(self, part: Part) -> dict[str, Value]:
        """The options that exist, in the order in which they depend on each other."""
        full: dict[str, Value] = {f.option.name: f.option.normal(f.option.default) for f in part.fields}
        existing: dict[str, Value] = {}
        for each in part.fields:
            option = each.option
            if not is_active(option, full):
                continue
            given = each.leaf.value if isinstance(each.leaf, Fixed) else self.answer(each.leaf.question)
            full[option.name] = existing[option.name] = option.normal(given)
            self.facts[f"{part.path}.{option.name}"] = (full[option.name],)
        return existing

    def slot(self, slot: Slot) -> Component:
        if slot.question is None:
            (name,) = slot.parts
            self.note(slot.path, name)
        else:
            name = str(self.answer(slot.question))
        return component(slot.kind, name, self.part(slot.parts[name]))


def choose(tree: Tree, ask: Ask) -> Candidate:
    """Walk the tree once.

    Raises:
        Forbidden: the answers meet an entry of `forbid:`.
        ValueError: `ask` gave an answer that the question does not take.
    """
    walk = _Walk(ask)
    parts: dict[str, Any] = {slot.kind: walk.slot(slot) for slot in tree.slots}
    architecture = Architecture(**parts, **walk.part(tree.rest))  # type: ignore[arg-type]
    training = complete(Training, walk.part(tree.training), subject="training")
    main, coarse, auxiliary = (tuple(walk.slot(slot) for slot in slots) for slots in tree.losses)
    answers = MappingProxyType(walk.answers)
    for rule in tree.rules:
        if all(c.met(walk.facts.get(c.path, ())) for c in rule.conditions):
            raise Forbidden(answers)
    return Candidate(architecture, tuple(sorted(training.items())), main, coarse, auxiliary, answers)


def questions(tree: Tree) -> tuple[Question, ...]:
    """Every question that may be asked, once each, in the order of the walk."""
    asked = [*architecture_questions(tree), *_part_questions(tree.training)]
    for slot in chain.from_iterable(tree.losses):
        asked += _slot_questions(slot)
    return tuple({q.path: q for q in asked}.values())


def architecture_questions(tree: Tree) -> tuple[Question, ...]:
    """Those whose answers may change the architecture, once each, in the order of the walk."""
    asked = [question for slot in tree.slots for question in _slot_questions(slot)]
    return tuple({q.path: q for q in (*asked, *_part_questions(tree.rest))}.values())


def _slot_questions(slot: Slot) -> Iterator[Question]:
    if slot.question:
        yield slot.question
    for part in slot.parts.values():
        yield from _part_questions(part)


def _part_questions(part: Part) -> Iterator[Question]:
    return (f.leaf.question for f in part.fields if isinstance(f.leaf, Asked))
