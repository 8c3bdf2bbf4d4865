"""Read `ablation:`: what is compared with what.

    ablation:
      design: one_at_a_time               # or leave_one_out, pairs, factorial, listed
      baseline: {context: ppm, head: ssa} # answers; a question that is not named takes its first one
      over: [context, head]               # the questions that vary; by default all
      without: {head: linear}             # leave_one_out: what stands in for a thing that is left out
      arms: {wide: {context.ppm.channels: 512}}  # answers beside the baseline's; `baseline:` may name one of them
      seeds: 3

Places are those of questions; the prefix `architecture.` may be left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from blocks.errors import nearest
from blocks.options import Range, Value, options_of
from nas.space.mistakes import Mark, Mistakes
from nas.space.nodes import Listing, Node, Scalar, Table, holds_table, is_null, literal, plain
from nas.space.questions import Question
from nas.space.sections import Sections
from nas.space.tree import Candidate, Forbidden, Tree, choose, questions

Design = Literal["listed", "one_at_a_time", "leave_one_out", "pairs", "factorial"]
BASELINE = "baseline"
_NESTED = ("baseline", "over", "without", "arms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a file may say of an ablation in one value each.

    Args:
        design: which arms there are beside the baseline; without it `arms:` alone, where there are some.
        seeds: trainings of each arm, with seeds from `search.seed` on. [count]
    """

    design: Design = "one_at_a_time"
    seeds: Annotated[int, Range(1, 1_000)] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """What is compared with what.

    Args:
        design: which arms there are beside the baseline; `listed` takes those of `arms` alone.
        seeds: trainings of each arm, with seeds from `search.seed` on. [count]
        baseline: the name of the baseline's arm.
        answers: question -> the baseline's answer, and that of arms which open a question that it has not.
        arms: name -> answers that differ from the baseline's.
        over: paths of the questions that vary; those of the whole space where none is named.
        without: question -> what stands in for a thing that is left out.
        place: where in the file it stands.
    """

    design: Design = "one_at_a_time"
    seeds: int = 3
    baseline: str = BASELINE
    answers: Mapping[str, Value] = field(default_factory=dict)
    arms: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    over: tuple[str, ...] = ()
    without: Mapping[str, Value] = field(default_factory=dict)
    place: str = field(default="", compare=False)


def short(path: str) -> str:
    """A path as people write it: without the prefix that nearly all have."""
    return path.removeprefix("architecture.").removeprefix("training.losses.")


def candidate_of(tree: Tree, answers: Mapping[str, Value]) -> Candidate:
    """The candidate with these answers; what nobody answers takes the answer that is listed first.

    Raises:
        Forbidden: they meet an entry of `forbid:`.
    """

    def ask(question: Question) -> Value:
        return answers.get(question.path, question.domain.first)

    return choose(tree, ask)


def ablation(node: Node | None, tree: Tree, sections: Sections, mistakes: Mistakes) -> Ablation | None:
    """Read the section; None where there is none."""
    if node is None or is_null(node):
        return None
    known = {question.path: question for question in questions(tree)}
    return _Reading(tree, known, sections, mistakes).whole(node)


@dataclass(slots=True)
class _Reading:
    tree: Tree
    known: Mapping[str, Question]
    sections: Sections
    mistakes: Mistakes

    def whole(self, node: Node) -> Ablation:
        settings: dict[str, Any] = dict(self.sections.settings(node, "ablation", options_of(Settings), _NESTED))
        entries = node.entries if isinstance(node, Table) else {}
        written = entries.get("arms")
        arms = self.arms(written)
        if arms and "design" not in entries:
            settings["design"] = "listed"
        if settings.get("design") == "listed" and not arms:
            got, remedy = {"arms": 0}, "Write arms: {NAME: {PLACE: VALUE}}, or another design"
            self.mistakes.add(node.mark, "ablation", "arms to list", got, remedy)
        name, answers = self.baseline(entries.get("baseline"), arms, node.mark)
        read = Ablation(
            **settings,
            baseline=name,
            answers=answers,
            arms={arm: given for arm, given in arms.items() if arm != name},
            over=self.over(entries.get("over")),
            without=self.answers(entries.get("without"), "ablation.without"),
            place=str(entries["design"].mark if "design" in entries else node.mark),
        )
        marks = written.keys if isinstance(written, Table) else {}
        self.comparable(read, marks, entries.get("baseline", node).mark)
        return read

    def baseline(
        self, node: Node | None, arms: Mapping[str, Mapping[str, Value]], mark: Mark
    ) -> tuple[str, Mapping[str, Value]]:
        """Read answers, or the name of an arm."""
        if isinstance(node, Scalar) and node.value is not None:
            name = str(node.value)
            if name not in arms:
                got, remedy = {"baseline": name}, nearest(name, arms)
                self.mistakes.add(node.mark, "ablation.baseline", "answers, or the name of an arm", got, remedy)
            return name, arms.get(name, {})
        if BASELINE in arms:
            if node is None:
                return BASELINE, arms[BASELINE]
            got, remedy = {"arm": BASELINE}, "Name it otherwise, or write baseline: baseline"
            self.mistakes.add(mark, "ablation.arms", "names that the baseline does not have", got, remedy)
        return BASELINE, self.answers(node, "ablation.baseline")

    def arms(self, node: Node | None) -> dict[str, Mapping[str, Value]]:
        found: dict[str, Mapping[str, Value]] = {}
        for name, value, mark in self.sections.entries(node, "ablation.arms", ("NAME: {PLACE: VALUE}",)):
            if not 0 < len(name) <= 100 or not name.isprintable():
                got = {"name": name[:120]}
                self.mistakes.add(mark, "ablation.arms", "names of 1 to 100 printable characters", got, "Shorten it")
            found[name] = self.answers(value, f"ablation.arms.{name}")
        return found

    def answers(self, node: Node | None, path: str) -> dict[str, Value]:
        """Read a mapping of places to answers."""
        found: dict[str, Value] = {}
        for key, value, mark in self.sections.entries(node, path, self.places()):
            question = self.question(key, mark, path)
            if question is None:
                continue
            answer = literal(value)
            if holds_table(value) or answer not in question.domain:
                got = {key: plain(value)}
                near = nearest(str(answer), map(str, question.domain)) if _of_words(question) else "Add it there"
                needs = f"an answer that the space offers, {question.domain}"
                self.mistakes.add(value.mark, path, needs, got, near)
            elif question.path in found:
                self.mistakes.add(mark, path, "each place once", {"place": key}, "Remove one of them")
            else:
                found[question.path] = question.domain.settled(answer)
        return found

    def over(self, node: Node | None) -> tuple[str, ...]:
        """Read which questions vary."""
        if node is None or is_null(node):
            return ()
        items = node.items if isinstance(node, Listing) else (node,)
        found: list[str] = []
        for item in items:
            name = literal(item)
            question = self.question(str(name), item.mark, "ablation.over")
            if question is not None and not question.discrete:
                got, remedy = {"place": name}, "Give it a step, or leave it out"
                self.mistakes.add(item.mark, "ablation.over", "questions that have a list of answers", got, remedy)
            found += [question.path] if question else []
        return tuple(dict.fromkeys(found))

    def question(self, key: str, mark: Mark, path: str) -> Question | None:
        for prefix in ("", "architecture.", "training.losses."):
            if prefix + key in self.known:
                return self.known[prefix + key]
        remedy = nearest(key, self.places()) if self.known else "Write {choice: [...]} where something varies"
        self.mistakes.add(mark, path, "places where the space asks a question", {"place": key}, remedy)
        return None

    def places(self) -> list[str]:
        return [short(path) for path in self.known]

    def comparable(self, read: Ablation, marks: Mapping[str, Mark], mark: Mark) -> None:
        """Note arms that are forbidden, that answer what they are not asked, or that are there already."""
        if self.mistakes.found:
            return
        seen: dict[tuple[object, ...], str] = {}
        for name, given in {read.baseline: {}, **read.arms}.items():
            at = marks.get(name, mark)
            try:
                candidate = candidate_of(self.tree, {**read.answers, **given})
            except Forbidden:
                got, remedy = {"arm": name}, "Change it, or the entry of `forbid:`"
                self.mistakes.add(at, "ablation", "arms that `forbid:` allows", got, remedy)
                continue
            if idle := [short(path) for path in given if path not in candidate.answers]:
                remedy = "Remove it, or choose the component that asks it"
                got = {"arm": name, "place": ", ".join(idle)}
                self.mistakes.add(at, "ablation", "answers to questions that the arm has", got, remedy)
            if (twin := seen.setdefault(value_of(candidate), name)) != name:
                got, remedy = {"arm": name, "same_as": twin}, "Remove one of them"
                self.mistakes.add(at, "ablation", "arms that differ", got, remedy)


def value_of(candidate: Candidate) -> tuple[object, ...]:
    """The candidate without how it was asked for: equal for two spellings of one training."""
    return candidate.architecture, candidate.training, candidate.main, candidate.coarse, candidate.auxiliary


def _of_words(question: Question) -> bool:
    return question.discrete and all(isinstance(value, str) for value in _few(question.domain))


def _few(values: Iterable[Value]) -> list[Value]:
    return [value for _, value in zip(range(50), values, strict=False)]
