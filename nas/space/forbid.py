"""Read `forbid:`: combinations that make no sense.

Each entry maps places to values, and a candidate in which all of them hold does not exist. What counts is what the
candidate *is*: asked, fixed or default alike, so that an entry keeps its meaning when `--set` fixes a question.

    forbid:
      - {context: psa, head: ssa}                       # a slot holds a component
      - {context.ppm.bins: [1, 2, 4], head: linear}     # an option holds a value
      - {backbone.timm.model: [resnet18, resnet34]}     # ... or one of several

A list is one value where the option itself takes lists, and several alternatives otherwise; alternatives of lists are
lists of lists. The prefix `architecture.` may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blocks.architecture import SLOTS
from blocks.catalogue import catalogue
from blocks.errors import nearest
from blocks.options import Option, Value, options_of
from nas.space.mistakes import Mark, Mistakes
from nas.space.nodes import Listing, Node, Table, holds_table, is_null, literal, plain
from nas.space.questions import Question
from nas.space.tree import LOSSES, Asked, Condition, Leaf, Rule
from nas.space.values import listed, remedy_for


@dataclass(frozen=True, slots=True)
class _Place:
    """What a path in `forbid:` points at: a slot (then `names` are its components), an option, or a shared question."""

    path: str
    names: tuple[str, ...] = ()
    option: Option | None = None
    question: Question | None = None


@dataclass(slots=True)
class Rules:
    """Reads the rules, noting every mistake on the way.

    Args:
        rest: options of the architecture that belong to no slot.
        training: options of the recipe.
    """

    mistakes: Mistakes
    shared: Mapping[str, Leaf | None]
    rest: Mapping[str, Option]
    training: Mapping[str, Option]

    def rules(self, node: Node | None) -> tuple[Rule, ...]:
        if node is None or is_null(node):
            return ()
        if not isinstance(node, Listing):
            remedy = "Write - {context: psa, head: ssa}"
            self.mistakes.add(node.mark, "forbid", "a list of mappings", {"forbid": plain(node)}, remedy)
            return ()
        return tuple(rule for item in node.items if (rule := self.rule(item)))

    def rule(self, node: Node) -> Rule | None:
        if not isinstance(node, Table) or not node.entries:
            remedy = "Write - {context: psa, head: ssa}"
            self.mistakes.add(node.mark, "forbid", "a mapping of places to values", {"entry": plain(node)}, remedy)
            return None
        found: dict[str, Condition] = {}
        for key, value in node.entries.items():
            place = self.place(key, node.at(key))
            if place is None or not (condition := self.condition(place, value)):
                continue
            if condition.path in found:
                self.mistakes.add(node.at(key), "forbid", "each place once", {"place": key}, "Write a list of values")
            found[condition.path] = condition
        return Rule(tuple(found.values())) if len(found) == len(node.entries) else None

    def place(self, key: str, mark: Mark) -> _Place | None:
        """Find what a path points at."""
        keys = key.split(".")
        if keys[0] in (*SLOTS, *self.rest):
            keys = ["architecture", *keys]
        path, found = ".".join(keys), None
        match keys:
            case ["architecture", slot] if slot in SLOTS:
                found = _Place(path, names=tuple(catalogue(slot)))
            case ["architecture", slot, name, option] if slot in SLOTS and name in catalogue(slot):
                return self.option_of(slot, name, option, path, mark)
            case ["architecture", option] if option in self.rest:
                found = _Place(path, option=self.rest[option])
            case ["training", option] if option in self.training:
                found = _Place(path, option=self.training[option])
            case ["training", "losses", key] if key in LOSSES:
                found = _Place(path, names=tuple(catalogue(LOSSES[key])))
            case ["training", "losses", key, name, option] if key in LOSSES and name in catalogue(LOSSES[key]):
                return self.option_of(LOSSES[key], name, option, path, mark)
            case ["shared", name] if isinstance(leaf := self.shared.get(name), Asked):
                found = _Place(path, question=leaf.question)
        if found is None:
            self.mistakes.add(mark, "forbid", "places that exist", {"place": key}, self.likely(keys))
        return found

    def option_of(self, kind: str, name: str, option: str, path: str, mark: Mark) -> _Place | None:
        schema = options_of(catalogue(kind)[name])
        if option in schema:
            return _Place(path, option=schema[option])
        self.mistakes.add(mark, f"forbid {name}", "options that exist", {"option": option}, nearest(option, schema))
        return None

    def likely(self, keys: list[str]) -> str:
        """The remedy for a path that leads nowhere."""
        match keys:
            case ["architecture", slot, name, *_] if slot in SLOTS:
                return nearest(name, catalogue(slot))
            case ["training", option, *_]:
                return nearest(option, [*self.training, "losses"])
            case ["shared", *rest]:
                return nearest(".".join(rest), self.shared)
            case ["architecture", slot, *_]:
                return nearest(slot, [*SLOTS, *self.rest])
        return nearest(keys[0], [*SLOTS, *self.rest, "training", "shared"])

    def condition(self, place: _Place, node: Node) -> Condition | None:
        if holds_table(node):
            got = {"value": plain(node)}
            self.mistakes.add(node.mark, f"forbid {place.path}", "a value or a list of values", got, "Write values")
            return None
        whole = place.option is not None and not place.option.problem(literal(node))
        items = node.items if isinstance(node, Listing) and not whole else (node,)
        values = [literal(item) for item in items]
        wrong = [self.wrong(place, v, item.mark) for v, item in zip(values, items, strict=True)]
        if not values:
            self.mistakes.add(node.mark, f"forbid {place.path}", "a value", {"value": []}, "Write a value")
        if any(wrong) or not values:
            return None
        return Condition(place.path, tuple(place.option.normal(v) if place.option else v for v in values))

    def wrong(self, place: _Place, value: Value, mark: Mark) -> bool:
        """Note a value that the place can never hold."""
        subject, got = f"forbid {place.path}", {"value": listed(value)}
        if place.option is not None:
            need = place.option.problem(value)
            if need:
                self.mistakes.add(mark, subject, need, got, remedy_for(place.option, value))
            elif refusal := place.option.refusal(value):
                self.mistakes.found.append((mark, refusal))
                return True
            return need is not None
        if place.question is not None:
            if value not in place.question.domain:
                self.mistakes.add(mark, subject, str(place.question.domain), got, "Change the value")
            return value not in place.question.domain
        if value not in place.names:
            self.mistakes.add(mark, subject, "components that exist", got, nearest(str(value), place.names))
        return value not in place.names
