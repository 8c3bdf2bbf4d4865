"""Conditions like `params < 5e6 and context == 'ppm'`: parsed by Python's grammar, translated to SQL, never evaluated.

A name is a column of the flat row or an option by its path (`context.ppm.bins`, `training.learning_rate`). What a trial
does not have behaves as None does in Python: it differs from every value, and is neither smaller nor larger than any.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, and_, false, func, literal, not_, null, or_, select, true

from blocks.errors import QueryError, law, nearest
from blocks.options import Value
from nas.store.choices import as_text
from nas.store.columns import ALIASES, FLAT, canonical
from nas.store.schema import Moment, choice, trial

_LONGEST = 10_000  # characters
_DEEPEST = 100  # brackets and `not`s within each other
_MOST = 500  # comparisons; SQLite gives up at 1000
_ORDER: Final[dict[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_EQUAL = (ast.Eq, ast.Is)
_UNEQUAL = (ast.NotEq, ast.IsNot)
_GRAMMAR = "comparisons of columns, options and plain values, joined by and, or, not"
_EXAMPLE = "For example: params < 5e6 and context in ['ppm', 'aspp']"

Kind = Literal["number", "text", "time", "option"]


@dataclass(frozen=True, slots=True)
class Options:
    """What the store knows about option paths.

    Args:
        exists: whether some trial has an option of this path.
        names: every path, for the message when one does not exist.
    """

    exists: Callable[[str], bool]
    names: Callable[[], Iterable[str]]


@dataclass(frozen=True, slots=True)
class _Name:
    """A column or an option."""

    path: str
    kind: Kind

    def sql(self, kind: Kind) -> ColumnElement[Any]:
        """The SQL for it when it is compared with something of that kind."""
        if self.kind != "option":
            return FLAT[self.path]
        # Correlated to the trial at hand; the primary key of `choice` answers it.
        held = choice.c.number if kind == "number" else choice.c.value
        query = select(held).where(choice.c.trial_id == trial.c.id, choice.c.path == self.path)
        return query.correlate(trial).scalar_subquery()


@dataclass(frozen=True, slots=True)
class _Plain:
    """A value that somebody wrote."""

    value: Value


def translate(text: str, options: Options) -> ColumnElement[bool]:
    """Turn a condition into SQL over `nas.store.columns.JOINED`.

    Args:
        text: the condition; comparisons (chained ones too), `and`, `or`, `not`, `in`, `is None`.
        options: which option paths exist.

    Raises:
        QueryError: the text is no condition, or names or types do not fit; the message points at the column.
    """
    text = " ".join(text.split("\n")).strip()
    if len(text) > _LONGEST:
        raise QueryError(law("--where", f"at most {_LONGEST} characters", {"characters": len(text)}, "Shorten it"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text, mode="eval")
        return _Translator(text, options).condition(tree.body, 0)
    except SyntaxError as error:
        # The parser points nowhere when the text ends too early.
        column = min(error.offset or len(text) + 1, len(text) + 1)
        raise QueryError(_message(text, column, _GRAMMAR, {"where": text}, _EXAMPLE)) from error
    except (ValueError, RecursionError, MemoryError) as error:
        remedy = "Take out odd characters and nested brackets"
        raise QueryError(law("--where", _GRAMMAR, {"where": text[:200]}, remedy)) from error


def _message(text: str, column: int, needs: str, got: Mapping[str, object], remedy: str) -> str:
    return f"{law(f'--where, column {column},', needs, got, remedy)}\n    {text}\n    {' ' * (column - 1)}^"


class _Translator:
    """Walks the tree of one condition. Every kind of node that is not named here is refused."""

    def __init__(self, text: str, options: Options) -> None:
        self.text = text
        self.bytes = text.encode()  # the parser counts bytes, people count characters
        self.options = options
        self.count = 0

    def condition(self, node: ast.expr, depth: int) -> ColumnElement[bool]:
        """Translate what is true or false."""
        if depth > _DEEPEST:
            raise self.refusal(node, f"at most {_DEEPEST} nested conditions", {"nested": depth}, "Simplify it")
        match node:
            case ast.BoolOp(op=joint, values=values):
                parts = [self.condition(v, depth + 1) for v in values]
                return and_(*parts) if isinstance(joint, ast.And) else or_(*parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                # Unknown counts as false, inside `not` too: SQL alone would answer "unknown" there.
                return not_(func.coalesce(self.condition(operand, depth + 1), false()))
            case ast.Compare(left=left, ops=signs, comparators=others):
                triples = zip([left, *others], signs, others, strict=False)
                return and_(true(), *(self.comparison(a, sign, b) for a, sign, b in triples))
        raise self.refusal(node, _GRAMMAR, {"part": self.source(node)}, _EXAMPLE)

    def comparison(self, left: ast.expr, sign: ast.cmpop, right: ast.expr) -> ColumnElement[bool]:
        """Translate `a < b`, `a == b`, `a in b`."""
        self.count += 1
        if self.count > _MOST:
            raise self.refusal(left, f"at most {_MOST} comparisons", {"comparisons": self.count}, "Use `in [...]`")
        if isinstance(sign, ast.In | ast.NotIn):
            return self.membership(left, right, negated=isinstance(sign, ast.NotIn))
        a, b = self.operand(left), self.operand(right)
        if isinstance(a, _Name):
            kind = self.kind(a, b, right)
        elif isinstance(b, _Name):
            kind = self.kind(b, a, left)
        else:
            raise self.refusal(left, "a column or an option on one side", {"part": self.source(left)}, _EXAMPLE)
        x, y = self.sql(a, kind, left), self.sql(b, kind, right)
        if isinstance(sign, _EQUAL):
            return x.is_not_distinct_from(y)
        if isinstance(sign, _UNEQUAL):
            return x.is_distinct_from(y)
        if any(isinstance(s, _Plain) and not _has_order(s.value) for s in (a, b)):
            needs = "a number, a text or a date to compare the size of"
            raise self.refusal(right, needs, {"part": self.source(right)}, "Use == or !=")
        ordered: ColumnElement[bool] = _ORDER[type(sign)](x, y)
        return ordered

    def membership(self, left: ast.expr, right: ast.expr, *, negated: bool) -> ColumnElement[bool]:
        """Translate `a in [b, c]`."""
        name = self.operand(left)
        if not isinstance(name, _Name) or not isinstance(right, ast.List | ast.Tuple | ast.Set):
            needs = "a column or an option before `in` and a list of values after it"
            raise self.refusal(right, needs, {"part": self.source(right)}, _EXAMPLE)
        listed: dict[Kind, list[ColumnElement[Any]]] = {}
        absent: list[ColumnElement[bool]] = []
        for node in right.elts:
            value = self.operand(node)
            kind = self.kind(name, value, node)
            if value == _Plain(None):
                absent.append(name.sql(kind).is_(None))
            else:
                listed.setdefault(kind, []).append(self.sql(value, kind, node))
        found = or_(false(), *absent, *(name.sql(kind).in_(values) for kind, values in listed.items()))
        return not_(func.coalesce(found, false())) if negated else found

    def operand(self, node: ast.expr) -> _Name | _Plain:
        """Read a name or a value."""
        match node:
            case ast.Name() | ast.Attribute():
                return self.name(node)
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return _Plain(self.checked(value, node))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)) if value is not True:
                return _Plain(self.checked(-value, node))
            case ast.List(elts=items) | ast.Tuple(elts=items):
                values = [self.operand(item) for item in items]
                plain = tuple(v.value for v in values if isinstance(v, _Plain))
                if len(plain) == len(values):
                    return _Plain(plain)
        raise self.refusal(node, _GRAMMAR, {"part": self.source(node)}, _EXAMPLE)

    def name(self, node: ast.expr) -> _Name:
        """Look a name up: a column first, then an option."""
        path = self.source(node).replace(" ", "")
        if (column := canonical(path)) in FLAT:
            python = FLAT[column].type.python_type
            return _Name(column, "number" if python in (int, float) else "text" if python is str else "time")
        if self.options.exists(path):
            return _Name(path, "option")
        near = nearest(path, {*FLAT, *ALIASES, *self.options.names()})
        raise self.refusal(node, "a column, or an option that some trial has", {"name": path}, near)

    def kind(self, name: _Name, other: _Name | _Plain, node: ast.expr) -> Kind:
        """Decide what both sides are compared as, and refuse what cannot be."""
        part: dict[str, object] = {"part": self.source(node)}
        if isinstance(other, _Name):
            kinds: set[Kind] = {name.kind, other.kind}
            kinds.discard("option")
            if len(kinds) > 1:
                raise self.refusal(node, f"a {name.kind} to compare {name.path} with", part, _EXAMPLE)
            return kinds.pop() if kinds else "number"
        number = isinstance(other.value, int | float) and not isinstance(other.value, bool)
        if name.kind == "option":
            return "number" if number else "text"
        fits = number if name.kind == "number" else isinstance(other.value, str)
        if other.value is not None and not fits:
            raise self.refusal(node, f"a {name.kind} to compare {name.path} with", part, _EXAMPLE)
        return name.kind

    def sql(self, side: _Name | _Plain, kind: Kind, node: ast.expr) -> ColumnElement[Any]:
        """A column, or a value that is bound as a parameter."""
        if isinstance(side, _Name):
            return side.sql(kind)
        if side.value is None:
            return null()
        if kind == "time" and isinstance(side.value, str):
            try:
                # Without a zone it is the reader's own.
                return literal(datetime.fromisoformat(side.value).astimezone(), Moment)
            except (ValueError, OverflowError) as error:
                remedy = "Write it as '2026-11-21' or '2026-11-21 08:30'"
                raise self.refusal(node, "a date", {"part": self.source(node)}, remedy) from error
        return literal(side.value if kind == "number" else as_text(side.value))

    def checked(self, value: bool | int | float | str | None, node: ast.expr) -> Value:
        """Refuse values that no database takes."""
        if isinstance(value, str) and not value.isprintable():
            raise self.refusal(node, "printable text", {"part": self.source(node)}, "Take out the odd characters")
        if isinstance(value, int) and abs(value) >= 1 << 63:
            remedy = "Write it with an exponent, as 1e30"
            raise self.refusal(node, "numbers of 64 bits", {"bits": value.bit_length()}, remedy)
        if isinstance(value, float) and not math.isfinite(value):
            raise self.refusal(node, "finite numbers", {"part": self.source(node)}, "Give a smaller one")
        return value

    def source(self, node: ast.expr) -> str:
        """What the person wrote there, shortened for a message."""
        return self.bytes[node.col_offset : node.end_col_offset].decode(errors="replace")[:200]

    def refusal(self, node: ast.expr, needs: str, got: Mapping[str, object], remedy: str) -> QueryError:
        """Point at a part of the condition and say what is wrong with it."""
        column = len(self.bytes[: node.col_offset].decode(errors="replace")) + 1
        return QueryError(_message(self.text, column, needs, got, remedy))


def _has_order(value: Value) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)
