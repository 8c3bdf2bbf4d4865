"""From nodes to the tree of components: each name is looked up in its catalogue, each option in its constructor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from blocks.catalogue import catalogue
from blocks.errors import BlockError, nearest
from blocks.options import Option, Value, When, options_of
from nas.space.mistakes import Mark, Mistakes
from nas.space.nodes import Listing, Node, Scalar, Table, is_null, plain
from nas.space.questions import Choices, Question, same
from nas.space.tree import Field, Fixed, Leaf, Part, Slot
from nas.space.values import Values, listed


@dataclass(slots=True)
class Components:
    """Turns nodes into the parts and slots of the tree, noting every mistake on the way."""

    values: Values
    mistakes: Mistakes

    def part(self, node: Node | None, path: str, schema: Mapping[str, Option], besides: Iterable[str] = ()) -> Part:
        """Read the options of one thing; `besides` are keys that somebody else reads."""
        leaves: dict[str, Leaf] = {}
        written: dict[str, Mark] = {}
        if node is not None and not is_null(node) and not isinstance(node, Table):
            got = {"value": plain(node)}
            self.mistakes.add(
                node.mark, path, "a mapping of its options", got, f"Options: {', '.join(schema) or 'none'}"
            )
        elif isinstance(node, Table):
            for key, value in node.entries.items():
                if key in schema:
                    leaf = self.values.leaf(value, f"{path}.{key}", schema[key])
                    if leaf is not None:
                        leaves[key], written[key] = leaf, node.at(key)
                    else:
                        written.pop(key, None)
                elif key not in besides:
                    remedy = nearest(key, [*schema, *besides])
                    self.mistakes.add(node.at(key), path, "options that exist", {"option": key}, remedy)
        fields = tuple(Field(o, leaves.get(o.name, Fixed(o.normal(o.default)))) for o in ordered(schema))
        self.reachable(fields, path, written)
        return Part(path, fields)

    def reachable(self, fields: tuple[Field, ...], path: str, written: Mapping[str, Mark]) -> None:
        """Note options that are written although no answer ever makes them exist."""
        leaves = {f.option.name: f for f in fields}
        for name, mark in written.items():
            when = leaves[name].option.when
            if when is None or any(may_hold(leaves[when.option], value) for value in when.values):
                continue
            gate = leaves[when.option].leaf
            holds = listed(gate.value) if isinstance(gate, Fixed) else str(gate.question.domain)
            self.mistakes.add(mark, f"{path}.{name}", *unmet(when, holds))

    def slot(self, node: Node, path: str, kind: str) -> Slot | None:
        """Read a component, or a choice of several."""
        if isinstance(node, Table) and "choice" in node:
            return self.chosen(node, path, kind)
        named = self.named(node, path, kind)
        if not named:
            return None
        name, options = named
        part = self.component(name, options, path, kind)
        return Slot(path, kind, {name: part}) if part else None

    def named(self, node: Node, path: str, kind: str) -> tuple[str, Table | Scalar | Listing | None] | None:
        """The name and options of one component: `ppm` or `{ppm: {bins: [1, 2]}}`."""
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return self.known(node.value, node.mark, path, kind, None)
        if isinstance(node, Table) and len(node.entries) == 1:
            ((name, options),) = node.entries.items()
            return self.known(name, node.at(name), path, kind, options)
        got = {"value": list(node) if isinstance(node, Table) else plain(node)}
        remedy = f"Several are written {{choice: [...]}}; known: {', '.join(sorted(catalogue(kind)))}"
        self.mistakes.add(node.mark, path, "the name of one component", got, remedy)
        return None

    def known(
        self, name: str, mark: Mark, path: str, kind: str, options: Node | None
    ) -> tuple[str, Node | None] | None:
        if name in catalogue(kind):
            return name, options
        got = {kind: name}
        self.mistakes.add(mark, path, "a component that exists", got, nearest(name, catalogue(kind)))
        return None

    def component(self, name: str, options: Node | None, path: str, kind: str) -> Part | None:
        return self.part(options, f"{path}.{name}", options_of(catalogue(kind)[name]))

    def chosen(self, node: Table, path: str, kind: str) -> Slot | None:
        for key in node:
            if key != "choice":
                remedy = "Put it inside the choice, or remove choice"
                self.mistakes.add(node.at(key), path, "`choice` alone", {"key": key}, remedy)
        inner = node["choice"]
        items: list[tuple[Node, Mark]]
        if isinstance(inner, Table):
            items = [(Table({k: v}, inner.at(k), {k: inner.at(k)}), inner.at(k)) for k, v in inner.entries.items()]
        else:
            items = [(item, item.mark) for item in inner.items] if isinstance(inner, Listing) else []
        if not items:
            got = {"choice": plain(inner)}
            self.mistakes.add(inner.mark, path, "components to choose from", got, "Write {choice: [a, b]}")
            return None
        parts: dict[str, Part] = {}
        for item, mark in items:
            named = self.named(item, path, kind)
            if named and named[0] in parts:
                self.mistakes.add(mark, path, "each choice once", {"choice": named[0]}, "Remove one of them")
            elif named and (part := self.component(*named, path, kind)):
                parts[named[0]] = part
        return Slot(path, kind, parts, Question(path, Choices(tuple(parts)))) if parts else None


def unmet(when: When, holds: object) -> tuple[str, dict[str, object], str]:
    """What an option needs that is written where it does not exist, what it got, and the remedy."""
    needs = f"{when.option} to be {' or '.join(str(listed(v)) for v in when.values)}"
    return needs, {when.option: holds}, f"Remove it or set {when.option}"


def ordered(schema: Mapping[str, Option]) -> list[Option]:
    """Options in the order of the signature, but each after the one that decides whether it exists."""
    done: dict[str, Option] = {}
    waiting = list(schema.values())
    while waiting:
        ready = [o for o in waiting if o.when is None or o.when.option in done or o.when.option not in schema]
        if not ready:
            raise BlockError(f"options {[o.name for o in waiting]} exist only when each other do")
        done |= {o.name: o for o in ready}
        waiting = [o for o in waiting if o.name not in done]
    return list(done.values())


def may_hold(gate: Field, value: Value) -> bool:
    """Tell whether an option may hold a value: as fixed, as an answer, or as the default while it does not exist."""
    leaf, option = gate.leaf, gate.option
    holds = same(leaf.value, value) if isinstance(leaf, Fixed) else value in leaf.question.domain
    return holds or (option.when is not None and same(option.normal(option.default), value))
