"""A YAML document as plain values that remember where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from blocks.options import Value
from nas.space.mistakes import Mark

Plain = bool | int | float | str | None | list["Plain"] | dict[str, "Plain"]
"""What JSON can hold."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text, a number, true, false or null."""

    value: bool | int | float | str | None
    mark: Mark


@dataclass(frozen=True, slots=True)
class Listing:
    """A sequence."""

    items: tuple[Node, ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; `keys` says where each key stands."""

    entries: Mapping[str, Node]
    mark: Mark
    keys: Mapping[str, Mark] = field(default_factory=dict)

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def __getitem__(self, key: str) -> Node:
        return self.entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def at(self, key: str) -> Mark:
        """Where the key stands."""
        return self.keys.get(key, self.entries[key].mark)

    def replaced(self, key: str, node: Node, mark: Mark) -> Table:
        """The same table with one entry replaced or added."""
        return Table({**self.entries, key: node}, self.mark, {**self.keys, key: mark})


Node = Scalar | Listing | Table


def plain(node: Node) -> Plain:
    """Forget the marks: what JSON would hold."""
    match node:
        case Scalar():
            return node.value
        case Listing():
            return [plain(item) for item in node.items]
        case Table():
            return {key: plain(value) for key, value in node.entries.items()}


def literal(node: Node) -> Value | None:
    """A scalar or list of scalars as an immutable value; a mapping has none (None: see `holds_table`)."""
    match node:
        case Scalar():
            return node.value
        case Listing():
            return tuple(literal(item) for item in node.items)
        case Table():
            return None


def holds_table(node: Node) -> bool:
    """Tell whether a mapping is anywhere in it: then it is no plain value."""
    return isinstance(node, Table) or (isinstance(node, Listing) and any(holds_table(i) for i in node.items))


def is_null(node: Node) -> bool:
    """Tell whether nothing was written."""
    return isinstance(node, Scalar) and node.value is None
