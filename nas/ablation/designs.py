"""The designs: which answers are changed together.

`one_at_a_time` changes one answer of the baseline in each arm, to each other answer. `leave_one_out` takes one thing
away in each arm. `pairs` has every single change and every two of them at once, which shows what adds up and what
does not. `factorial` has every combination. `listed` has the arms that a person names.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from blocks.architecture import NONE
from blocks.errors import SpaceError, law
from blocks.options import Value
from nas.ablation.arm import Arm, differences, unasked
from nas.space import Ablation, Candidate, Forbidden, Question, Space
from nas.space.ablation import Design, candidate_of, short, value_of
from nas.space.questions import same
from nas.store import as_text

Changes = Mapping[str, Value]

MOST_ARMS = 1_000
_MOST_COMBINATIONS = 100_000


@dataclass(frozen=True, slots=True)
class Plan:
    """The arms of an ablation.

    Args:
        baseline: the name of the arm that the others are compared with.
        arms: the baseline first.
        left_out: names of arms that the design has and `forbid:` does not allow.
    """

    baseline: str
    arms: tuple[Arm, ...]
    left_out: tuple[str, ...] = ()


def planned(space: Space) -> Plan:
    """Spell out the arms of a space's `ablation:` section.

    Raises:
        SpaceError: there is no such section, its networks would inherit weights, nothing can be varied, two arms are
            equal, an arm differs in more than was asked, or a named arm is not one of the design.
    """
    ablation = space.ablation
    if ablation is None:
        remedy = "Write ablation: {design: one_at_a_time, baseline: {context: none}}, or give --design"
        raise SpaceError(law(f"The space {space.name}", "a section `ablation:`", {"ablation": None}, remedy))
    if space.search.inherit:
        needs, remedy = "networks that all start fresh", "Write search: {inherit: false} or --set search.inherit=false"
        raise SpaceError(law("An ablation", needs, {"search.inherit": True}, remedy))
    baseline = Arm(ablation.baseline, candidate_of(space.tree, ablation.answers))
    arms, left_out = _Making(space, ablation, baseline).arms()
    if not arms:
        got = {"design": ablation.design, "left_out": len(left_out)}
        remedy = f"Offer other answers in the space. {_HINTS[ablation.design]}"
        raise _refused(ablation, "An ablation", "an arm beside the baseline", got, remedy)
    return Plan(baseline.name, (baseline, *arms), tuple(left_out))


@dataclass(slots=True)
class _Making:
    space: Space
    ablation: Ablation
    baseline: Arm

    def arms(self) -> tuple[list[Arm], list[str]]:
        given = [*self.ablation.arms.items()]
        if self.ablation.design == "listed":
            return [arm for name, changes in given if (arm := self.arm(changes, name)) is not None], []
        called = {_key(changes): name for name, changes in given}
        found: dict[tuple[object, ...], Arm] = {value_of(self.baseline.candidate): self.baseline}
        left_out: list[str] = []
        for changes in _DESIGNS[self.ablation.design](self.space, self.baseline.candidate, self.questions()):
            name = called.pop(_key(changes), None)
            try:
                arm = self.arm(changes, name)
            except Forbidden:
                left_out.append(name or _named(changes))
                continue
            if arm is not None:
                self.add(found, arm)
        if called:
            got = {"arm": next(iter(called.values())), "design": self.ablation.design}
            needs = "to differ from the baseline as the design has it, and in no more"
            remedy = "Leave `design` out, and all arms are those that are named"
            raise _refused(self.ablation, "A named arm", needs, got, remedy)
        return list(found.values())[1:], left_out

    def add(self, found: dict[tuple[object, ...], Arm], arm: Arm) -> None:
        value = value_of(arm.candidate)
        if value in found:
            got = {"arm": arm.name, "same_as": found[value].name}
            remedy = "Name with `over:` the questions that make a difference"
            raise _refused(self.ablation, "An ablation", "arms that differ", got, remedy)
        if len(found) > MOST_ARMS:
            got = {"design": self.ablation.design, "arms": f"more than {MOST_ARMS}"}
            raise _refused(self.ablation, "An ablation", f"at most {MOST_ARMS} arms", got, "Vary less with `over:`")
        found[value] = arm

    def arm(self, changes: Changes, name: str | None) -> Arm | None:
        """The arm with these changes; None where one of them answers a question that the others do away with.

        Raises:
            Forbidden: they meet an entry of `forbid:`.
        """
        candidate = candidate_of(self.space.tree, {**self.ablation.answers, **changes})
        if any(path not in candidate.answers for path in changes):
            return None
        found = differences(self.baseline.candidate, candidate)
        asked = {path for path, value in changes.items() if not self.is_baseline(path, value)}
        if more := unasked(found, asked, self.space.tree):
            got = {"arm": name or _named(changes), "also": ", ".join(more)}
            raise _refused(self.ablation, "An arm", "to differ in what was asked alone", got, "List it under `arms:`")
        return Arm(name or self.name(changes), candidate, found)

    def is_baseline(self, path: str, value: Value) -> bool:
        answers = self.baseline.candidate.answers
        return path in answers and same(answers[path], value)

    def name(self, changes: Changes) -> str:
        if self.ablation.design == "leave_one_out":
            return "without " + ", ".join(short(path) for path in changes)
        return _named({path: value for path, value in changes.items() if not self.is_baseline(path, value)})

    def questions(self) -> list[Question]:
        """The questions that vary."""
        known = self.space.questions()
        varied = [question for question in known if not self.ablation.over or question.path in self.ablation.over]
        for question in varied:
            if not question.discrete:
                got = {"question": short(question.path), "answers": str(question.domain)}
                remedy = "Give it a step, or name with `over:` the questions that vary"
                raise _refused(self.ablation, "An ablation", "questions that have a list of answers", got, remedy)
        return varied


def one_at_a_time(space: Space, baseline: Candidate, varied: Sequence[Question]) -> Iterator[Changes]:
    """Each other answer to each question that the baseline has."""
    for question in varied:
        if question.path in baseline.answers:
            others = (value for value in question.domain if not same(value, baseline.answers[question.path]))
            yield from ({question.path: value} for value in others)


def leave_one_out(space: Space, baseline: Candidate, varied: Sequence[Question]) -> Iterator[Changes]:
    """Each thing that the baseline has, taken away: a component becomes `none`, `true` becomes `false`.

    What has no such answer is left as it is, unless `without:` says what stands in for it.
    """
    for question in varied:
        if question.path not in baseline.answers:
            continue
        held = baseline.answers[question.path]
        nothing: Value = NONE.name if NONE.name in question.domain else False if held is True else held
        instead = _ablation(space).without.get(question.path, nothing)
        if not same(instead, held) and instead in question.domain:
            yield {question.path: instead}


def pairs(space: Space, baseline: Candidate, varied: Sequence[Question]) -> Iterator[Changes]:
    """Every single change, and every two changes of different questions at once."""
    single = list(one_at_a_time(space, baseline, varied))
    yield from single
    for first, second in itertools.combinations(single, 2):
        if first.keys() != second.keys():
            yield {**first, **second}


def factorial(space: Space, baseline: Candidate, varied: Sequence[Question]) -> Iterator[Changes]:
    """Every combination of answers but the baseline's own.

    Raises:
        SpaceError: there are too many.
    """
    ablation = _ablation(space)
    combinations = math.prod(question.size or 1 for question in varied)
    if combinations > _MOST_COMBINATIONS:
        got = {"combinations": combinations}
        needs = f"at most {_MOST_COMBINATIONS} combinations"
        raise _refused(ablation, "A factorial ablation", needs, got, "Vary less with `over:`")
    seen = {
        _key(
            {question.path: baseline.answers[question.path] for question in varied if question.path in baseline.answers}
        )
    }
    for values in itertools.product(*(question.domain for question in varied)):
        changes = dict(zip((question.path for question in varied), values, strict=True))
        asked = _asked(space, {**ablation.answers, **changes})
        # Answers to questions that this combination does not have make no other arm.
        changes = {path: value for path, value in changes.items() if path in asked}
        if (key := _key(changes)) not in seen:
            seen.add(key)
            yield changes


_DESIGNS: Mapping[Design, Callable[[Space, Candidate, Sequence[Question]], Iterator[Changes]]] = {
    "one_at_a_time": one_at_a_time,
    "leave_one_out": leave_one_out,
    "pairs": pairs,
    "factorial": factorial,
}
_HINTS: Mapping[Design, str] = {
    "listed": "",
    "one_at_a_time": "A baseline of one answer to each question has nothing to change",
    "leave_one_out": "A component is left out where `none` is among its choices, an option where it is true; "
    "for others write `without: {head: linear}`",
    "pairs": "A baseline of one answer to each question has nothing to change",
    "factorial": "Every question has one answer",
}


def _ablation(space: Space) -> Ablation:
    return space.ablation or Ablation()


def _asked(space: Space, answers: Changes) -> Changes:
    """What a candidate was asked, allowed or not."""
    try:
        return candidate_of(space.tree, answers).answers
    except Forbidden as forbidden:
        return forbidden.answers


def _key(changes: Changes) -> frozenset[tuple[str, str | None]]:
    return frozenset((path, as_text(value)) for path, value in changes.items())


def _named(changes: Changes) -> str:
    return ", ".join(f"{short(path)}={as_text(value)}" for path, value in changes.items())


def _refused(ablation: Ablation, subject: str, needs: str, got: Mapping[str, object], remedy: str) -> SpaceError:
    return SpaceError(f"{ablation.place}: {law(subject, needs, got, remedy)}")
