"""From nodes to plain values and questions, each checked against the option that it is meant for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from blocks.errors import nearest
from blocks.options import Option, Value
from nas.space.mistakes import Mark, Mistakes
from nas.space.nodes import Listing, Node, Table, holds_table, literal, plain
from nas.space.questions import Choices, Domain, Question, Span, key
from nas.space.tree import Asked, Fixed, Leaf

QUESTIONS = ("choice", "int", "float", "shared")


@dataclass(slots=True)
class Values:
    """Turns nodes into leaves of the tree, noting every mistake on the way.

    Args:
        mistakes: where to note them.
        shared: what stands under `shared:`; None for an entry that is wrong, which was noted already.
    """

    mistakes: Mistakes
    shared: dict[str, Leaf | None] = field(default_factory=dict)

    def leaf(self, node: Node, path: str, option: Option | None) -> Leaf | None:
        """Read a plain value or a question; `option` says what serves (None: anything, for `shared:`)."""
        if isinstance(node, Table):
            return self.shared_leaf(node, path, option) if "shared" in node else self.asked(node, path, option)
        if holds_table(node):
            remedy = "A list of alternatives is written {choice: [...]}"
            self.mistakes.add(node.mark, path, "a plain value", {"value": plain(node)}, remedy)
            return None
        return self.fixed(literal(node), node.mark, path, option)

    def fixed(self, value: Value, mark: Mark, path: str, option: Option | None) -> Fixed | None:
        if option is None:
            return Fixed(value)
        if need := option.problem(value):
            self.mistakes.add(mark, path, need, {option.name: listed(value)}, remedy_for(option, value))
            return None
        if refusal := option.refusal(option.normal(value)):
            self.mistakes.found.append((mark, refusal))
            return None
        return Fixed(option.normal(value))

    def asked(self, node: Table, path: str, option: Option | None) -> Asked | None:
        domain = self.domain(node, path)
        if domain is None:
            return None
        ordered = self.ordered(node, path)
        if option is None:
            return Asked(Question(path, domain, ordered))
        items = node["choice"].items if isinstance(domain, Choices) and isinstance(node["choice"], Listing) else ()
        fitting = self.fitting(domain, path, option, [item.mark for item in items] or [node.mark])
        return Asked(Question(path, fitting, ordered)) if fitting else None

    def ordered(self, node: Table, path: str) -> bool:
        """Read `ordered: true` beside a question: its answers go from narrow to wide."""
        value = literal(node["ordered"]) if "ordered" in node else False
        if not isinstance(value, bool):
            got = {"ordered": plain(node["ordered"])}
            self.mistakes.add(node["ordered"].mark, path, "ordered: true or false", got, "Change the value")
        return value is True

    def shared_leaf(self, node: Table, path: str, option: Option | None) -> Leaf | None:
        name = plain(node["shared"])
        if len(node.entries) > 1 or not isinstance(name, str) or name not in self.shared:
            remedy = nearest(str(name), self.shared) if len(node.entries) == 1 else "Write {shared: NAME} alone"
            self.mistakes.add(node.mark, path, "the name of a question under `shared:`", {"shared": name}, remedy)
            return None
        leaf = self.shared[name]
        if option is None or leaf is None:
            return leaf
        if isinstance(leaf, Fixed):
            return self.fixed(leaf.value, node.mark, path, option)
        fits = self.fitting(leaf.question.domain, path, option, [node.mark])
        return leaf if fits else None

    def domain(self, node: Table, path: str) -> Domain | None:
        """Read `{choice: [...]}`, `{int: [low, high], step | log}` or `{float: [low, high], step | log}`.

        Each may be `ordered`.
        """
        kinds = [name for name in node if name in QUESTIONS]
        if len(kinds) != 1:
            first = next((k for k in node if k not in QUESTIONS), "")
            remedy = f"Write a value, {{choice: [...]}} or {{int: [low, high]}}. {nearest(first, QUESTIONS)}"
            self.mistakes.add(node.mark, path, "a value or one question", {"keys": list(node)}, remedy)
            return None
        (kind,) = kinds
        known = (kind, "ordered") if kind == "choice" else (kind, "step", "log", "ordered")
        extra = [name for name in node if name not in known]
        for name in extra:
            self.mistakes.add(
                node.at(name), path, f"the keys of a question `{kind}`", {"key": name}, nearest(name, known)
            )
        if extra:
            return None
        return self.choices(node[kind], path) if kind == "choice" else self.span(node, kind, path)

    def choices(self, node: Node, path: str) -> Choices | None:
        if not isinstance(node, Listing) or not node.items or any(holds_table(item) for item in node.items):
            got = {"choice": plain(node)}
            self.mistakes.add(node.mark, path, "a list of plain values to choose from", got, "Write {choice: [a, b]}")
            return None
        values: dict[object, Value] = {}
        for item in node.items:
            value = literal(item)
            if key(value) in values:
                self.mistakes.add(item.mark, path, "each choice once", {"choice": listed(value)}, "Remove one of them")
            values[key(value)] = value
        return Choices(tuple(values.values()))

    def span(self, node: Table, kind: str, path: str) -> Span | None:
        bounds = literal(node[kind])
        number = int if kind == "int" else (int, float)
        if not isinstance(bounds, tuple) or len(bounds) != 2 or not all(is_number(b, number) for b in bounds):
            got = {kind: plain(node[kind])}
            self.mistakes.add(node[kind].mark, path, f"two numbers, low and high ({kind})", got, f"{{{kind}: [1, 8]}}")
            return None
        low, high = bounds
        step = literal(node["step"]) if "step" in node else None
        log = literal(node["log"]) if "log" in node else False
        assert isinstance(low, int | float) and isinstance(high, int | float)
        problem: tuple[str, dict[str, object], str] | None = None
        if low >= high:
            problem = ("low below high", {kind: [low, high]}, "Swap them, or write the one value")
        elif not isinstance(log, bool):
            problem = ("log: true or false", {"log": listed(log)}, "Change the value")
        elif step is not None and (not is_number(step, number) or step <= 0):  # type: ignore[operator]
            problem = ("a positive step of the same kind", {"step": listed(step)}, "Change the value")
        elif log and (step is not None or low <= 0):
            problem = ("low above 0 and no step where log is true", {"low": low, "step": listed(step)}, "Remove log")
        if problem:
            self.mistakes.add(node.mark, path, *problem)
            return None
        assert step is None or isinstance(step, int | float)
        return self.on_grid(node, path, _span(kind, low, high, step, log=bool(log)))

    def on_grid(self, node: Table, path: str, span: Span) -> Span | None:
        if span.step is None or span.high in span:
            return span
        got = {"high": span.high, "step": span.step}
        self.mistakes.add(node.mark, path, "high a whole number of steps above low", got, f"End at {span.last}")
        return None

    def fitting(self, domain: Domain, path: str, option: Option, marks: list[Mark]) -> Domain | None:
        """The domain in the option's own spelling, or None if some answer would not serve."""
        if isinstance(domain, Span):
            return domain if self.span_fits(domain, path, option, marks[0]) else None
        wrong = False
        for i, value in enumerate(domain.values):
            mark = marks[i] if len(marks) == len(domain.values) else marks[0]
            wrong = self.fixed(value, mark, path, option) is None or wrong
        return None if wrong else Choices(tuple(option.normal(v) for v in domain.values))

    def span_fits(self, span: Span, path: str, option: Option, mark: Mark) -> bool:
        if option.choices is not None:
            self.mistakes.add(
                mark, path, f"one of a list, {option.type}", {"range": str(span)}, "Write {choice: [...]}"
            )
            return False
        for bound in (span.low, span.high):
            probe = int(bound) if span.kind == "int" else float(bound)
            if need := option.problem(probe):
                self.mistakes.add(mark, path, need, {"range": str(span)}, "Change the bounds or the kind")
                return False
        return True


def remedy_for(option: Option, value: Value) -> str:
    """How to mend a value: the nearest listed one, or a hint at the usual traps."""
    if option.choices and isinstance(value, str) and option.hint is not bool:
        return nearest(value, [str(c) for c in option.choices])
    if isinstance(value, str) and is_numeric(value):
        return "Remove the quotes"
    return "Change the value"


def is_number(value: object, kind: type | tuple[type, ...]) -> bool:
    """A number proper: true and false are none."""
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)  # type: ignore[arg-type]


def is_numeric(text: str) -> bool:
    """Tell whether a text would be a number without its quotes."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def listed(value: Value) -> object:
    """As a person writes it: with lists, not tuples."""
    return [listed(v) for v in value] if isinstance(value, tuple) else value


def _span(kind: str, low: float, high: float, step: float | None, *, log: bool) -> Span:
    if kind == "int":
        return Span("int", low, high, step or 1, log)
    return Span("float", float(low), float(high), step, log)
