"""Read YAML 1.2 into nodes that know their line and column. Whatever is in the text, it is only ever data.

Nodes are put together from the parser's events, without recursion and without any constructor: a tag is refused, so no
text can name code; depth, length and the expansion of aliases are bounded, so no text can exhaust the machine. Scalars
follow the core schema of YAML 1.2: `yes`, `on` and `1_000` are text, `10e9` and `1e-4` are numbers.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from nas.space.mistakes import Mark, Mistakes
from nas.space.nodes import Listing, Node, Scalar, Table

MAX_BYTES = 256 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 32
MAX_DIGITS = 18  # SQLite and JSON readers keep whole numbers of 64 bits

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
# ruamel answers some malformed escapes and directives with these instead of its own error.
_PARSER_ERRORS = (YAMLError, ValueError, OverflowError, AssertionError, AttributeError, LookupError, TypeError)


def read(content: bytes | str, source: str, mistakes: Mistakes, *, lines: bool = True) -> Node | None:
    """Read one document.

    Args:
        content: the YAML text.
        source: what to call it in marks.
        mistakes: where to note what is wrong.
        lines: False where line numbers mean nothing (a value from the command line).

    Returns:
        The document, or None if it could not be read (the reason is in `mistakes`).
    """
    text = _decoded(content, source, mistakes)
    return None if text is None else _Reading(source, mistakes, lines).document(text)


def _decoded(content: bytes | str, source: str, mistakes: Mistakes) -> str | None:
    if len(content) > MAX_BYTES:
        needs = f"at most {MAX_BYTES} bytes"
        mistakes.add(Mark(source), "A search space", needs, {"bytes": "more"}, "Is this the right file?")
        return None
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        got = {"byte": hex(content[error.start])}
        mistakes.add(Mark(source, line, column), "A search space", "UTF-8 text", got, "Save it as UTF-8")
        return None


def resolved(text: str) -> bool | int | float | str | None:
    """What an unquoted scalar means in YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    return float(text) if _FLOAT.fullmatch(text) else text


class _RefusedError(Exception):
    """The document is refused as a whole: reading on could only do harm."""


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    mapping: bool
    mark: Mark
    anchor: str | None
    items: list[tuple[Node, Mark]] = field(default_factory=list)
    size: int = 1
    height: int = 1


@dataclass(slots=True)
class _Reading:
    source: str
    mistakes: Mistakes
    lines: bool
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Node, int, int] | None] = field(default_factory=dict)  # node, size, height
    root: Node | None = None
    documents: int = 0

    def mark(self, at: Any) -> Mark:
        return Mark(self.source, at.line + 1, at.column + 1) if self.lines and at else Mark(self.source)

    def document(self, text: str) -> Node | None:
        before = len(self.mistakes.found)
        try:
            for event in _events(text):
                self.take(event)
        except _RefusedError:
            return None
        except _PARSER_ERRORS as error:
            self.syntax(error)
            return None
        return (
            self.root if self.root is not None or len(self.mistakes.found) > before else Scalar(None, self.mark(None))
        )

    def syntax(self, error: Exception) -> None:
        at = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        why = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        got = {"problem": " ".join(str(why).split())}
        self.mistakes.add(self.mark(at), "A search space", "well-formed YAML", got, "Check quotes, colons and indents")

    def refuse(self, at: Any, needs: str, got: dict[str, object], remedy: str) -> None:
        self.mistakes.add(self.mark(at), "A search space", needs, got, remedy)
        raise _RefusedError

    def take(self, event: Any) -> None:
        match event:
            case DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    self.refuse(event.start_mark, "one document", {"documents": 2}, "Remove the line ---")
            case AliasEvent():
                self.alias(event)
            case ScalarEvent():
                self.tagged(event)
                node = Scalar(self.value(event), self.mark(event.start_mark))
                self.put(node, node.mark, 1, 1, event.anchor)
            case MappingStartEvent() | SequenceStartEvent():
                self.start(event)
            case MappingEndEvent() | SequenceEndEvent():
                self.end()

    def tagged(self, event: Any) -> None:
        if event.tag is not None and event.tag != "!":
            got = {"tag": str(event.tag)}
            self.mistakes.add(self.mark(event.start_mark), "A search space", "plain values, no tags", got, "Remove it")

    def value(self, event: Any) -> bool | int | float | str | None:
        mark = self.mark(event.start_mark)
        text: str = event.value
        odd = next(
            (c for c in text if c == "\ufeff" or unicodedata.category(c) in {"Cc", "Cs", "Cn", "Zl", "Zp"}), None
        )
        if odd is not None:
            got = {"character": f"U+{ord(odd):04X}"}
            self.mistakes.add(mark, "A value", "text of one line without control characters", got, "Remove it")
            return ""
        if event.style or event.tag == "!":
            return text
        if len(text) > MAX_DIGITS and _INT.fullmatch(text):
            self.mistakes.add(mark, "A number", f"at most {MAX_DIGITS} digits", {"digits": len(text)}, "Write 1.0e20")
            return 0
        value = resolved(text)
        if isinstance(value, float) and not math.isfinite(value):
            self.mistakes.add(mark, "A number", "to be finite", {"value": text}, "Write a number")
            return 1.0
        return value

    def start(self, event: Any) -> None:
        self.tagged(event)
        if len(self.stack) >= MAX_DEPTH:
            self.refuse(event.start_mark, f"at most {MAX_DEPTH} levels", {"level": MAX_DEPTH + 1}, "Nest it less")
        if event.anchor:
            self.anchors[event.anchor] = None
        self.stack.append(_Open(isinstance(event, MappingStartEvent), self.mark(event.start_mark), event.anchor))

    def alias(self, event: Any) -> None:
        known = self.anchors.get(event.anchor)
        if known is None:
            why = "an alias of what is complete" if event.anchor in self.anchors else "an alias of a known anchor"
            self.refuse(event.start_mark, why, {"alias": event.anchor}, "Write the value out")
            return
        node, size, height = known
        if len(self.stack) + height > MAX_DEPTH:
            got: dict[str, object] = {"level": len(self.stack) + height}
            self.refuse(event.start_mark, f"at most {MAX_DEPTH} levels", got, "Nest it less")
        self.put(node, self.mark(event.start_mark), size, height, None)

    def put(self, node: Node, mark: Mark, size: int, height: int, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = (node, size, height)
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        top.items.append((node, mark))
        top.size += size
        top.height = max(top.height, height + 1)
        if sum(o.size for o in self.stack) > MAX_NODES:
            self.mistakes.add(mark, "A search space", f"at most {MAX_NODES} values", {"values": "more"}, "Write less")
            raise _RefusedError

    def end(self) -> None:
        done = self.stack.pop()
        node = self.table(done) if done.mapping else Listing(tuple(n for n, _ in done.items), done.mark)
        self.put(node, done.mark, done.size, done.height, done.anchor)

    def table(self, done: _Open) -> Table:
        entries: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        pairs = [node for node, _ in done.items]
        for (key, mark), value in zip(done.items[::2], pairs[1::2], strict=True):
            name = self.key(key, mark)
            if name is None:
                continue
            if name in entries:
                remedy = f"It stands in line {keys[name].line} already"
                self.mistakes.add(mark, "A mapping", "each key once", {"key": name}, remedy)
                continue
            entries[name], keys[name] = value, mark
        return Table(entries, done.mark, keys)

    def key(self, key: Node, mark: Mark) -> str | None:
        if not isinstance(key, Scalar) or not isinstance(key.value, str) or not key.value:
            got = {"key": key.value if isinstance(key, Scalar) else "a collection"}
            self.mistakes.add(mark, "A mapping", "names as keys", got, "Use a name; quote it if it looks like a number")
            return None
        if key.value.endswith(":"):
            remedy = f"Write a space after the colon: {{{key.value} , ...}}"
            self.mistakes.add(mark, "A name", "no colon at its end", {"key": key.value}, remedy)
            return None
        return key.value


def _events(text: str) -> Iterator[Any]:
    yield from YAML(typ="safe", pure=True).parse(text)
