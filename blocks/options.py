"""Read what may vary in a component from its constructor: the signature is the schema.

Parameters before the `*` are what the network (or the data loader) supplies; keyword-only ones are options. An option
is annotated, has a default, and may carry a `Range` (bounds) and a `When` (it exists only for some values of another):

    def __init__(self, source: FeatureMap, *, mode: Literal["a", "b"] = "a",
                 rate: Annotated[int, Range(1, 64), When("mode", "b")] = 2) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from blocks.errors import BlockError, law, nearest

Value = bool | int | float | str | None | tuple["Value", ...]
"""What an option can hold: plain, immutable, and the same after a round trip through JSON."""


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number, both included; on a tuple, the bounds of each of its items."""

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f">= {self.low:g}"
        return f"<= {self.high:g}" if math.isinf(self.low) else f"from {self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True, init=False)
class When:
    """The option exists only while `option` holds one of `values`."""

    option: str
    values: tuple[Value, ...]

    def __init__(self, option: str, *values: Value) -> None:
        object.__setattr__(self, "option", option)
        object.__setattr__(self, "values", values)


@dataclass(frozen=True, slots=True)
class Check:
    """What only a library can say of a value, e.g. that it knows a model of this name.

    Space files are checked with it line by line; constructors still check for themselves.

    Args:
        test: raises BlockError when the value cannot serve.
    """

    test: Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Option:
    """One keyword-only parameter of a component."""

    name: str
    hint: Any
    default: Value
    range: Range | None = None
    when: When | None = None
    check: Check | None = None

    @property
    def required(self) -> bool:
        """True where there is no default."""
        return self.default is inspect.Parameter.empty  # type: ignore[comparison-overlap]  # how inspect says so

    @property
    def choices(self) -> tuple[Value, ...] | None:
        """The allowed values where they are listed (`Literal` or bool), else None."""
        if get_origin(self.hint) is Literal:
            return get_args(self.hint)
        return (False, True) if self.hint is bool else None

    @property
    def type(self) -> str:
        """The type as a person would write it: `int`, `one of parallel, sequential`, `list of 2 float`."""
        return _wording(self.hint)

    def problem(self, value: object) -> str | None:
        """Say what this option needs that `value` is not, or None if it serves. Strict: '512' is no number."""
        # What is filled in must serve when it is read again: a list that defaults to nothing is empty.
        if value == self.default and type(value) is type(self.default):
            return None
        if not _fits(value, self.hint):
            return self.type
        numbers = [v for v in (value if isinstance(value, tuple | list) else (value,)) if isinstance(v, int | float)]
        if self.range and not all(isinstance(v, bool) or self.range.low <= v <= self.range.high for v in numbers):
            return f"{self.type} {self.range}"
        return None

    def refusal(self, value: Value) -> str | None:
        """Word what `Check` has against a value that fits otherwise, or None."""
        try:
            if self.check:
                self.check.test(value)
        except BlockError as error:
            return str(error)
        return None

    def normal(self, value: Any) -> Value:
        """Give an accepted value its one spelling: lists become tuples, 1 becomes 1.0 where a float is meant."""
        return _normal(value, self.hint)


@functools.cache
def _anatomy(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """What a type is made of: `typing` takes its time to say it, and samplers ask very often."""
    return get_origin(hint), get_args(hint)


def _wording(hint: Any) -> str:
    origin, args = _anatomy(hint)
    if origin is Literal:
        return "one of " + ", ".join(str(a) for a in args)
    if origin is tuple:
        return f"list of {_wording(args[0])}" if args[-1] is Ellipsis else f"list of {len(args)} {_wording(args[0])}"
    if origin in (Union, types.UnionType):
        return " or ".join(_wording(a) for a in args)
    return {type(None): "null", bool: "true or false", str: "text"}.get(hint, getattr(hint, "__name__", str(hint)))


def _fits(value: object, hint: Any) -> bool:  # noqa: PLR0911 - one return a kind of hint
    origin, args = _anatomy(hint)
    if origin is Literal:
        return any(value == a and type(value) is type(a) for a in args)
    if origin in (Union, types.UnionType):
        return any(_fits(value, a) for a in args)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        inner = (args[0],) * len(value) if args[-1] is Ellipsis else args
        # An empty list is never a sensible choice of bins, rates or sizes.
        return 0 < len(value) == len(inner) and all(_fits(v, h) for v, h in zip(value, inner, strict=True))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return value is None if hint is type(None) else isinstance(value, hint)


def _normal(value: Any, hint: Any) -> Value:
    origin, args = _anatomy(hint)
    if origin in (Union, types.UnionType):
        return _normal(value, next(a for a in args if _fits(value, a)))
    if origin is tuple:
        inner = (args[0],) * len(value) if args[-1] is Ellipsis else args
        return tuple(_normal(v, h) for v, h in zip(value, inner, strict=True))
    return float(value) if hint is float else value


@functools.cache
def options_of(component: Callable[..., object]) -> Mapping[str, Option]:
    """Return the options of a component (a class or function) by name, in the order of its signature."""
    owner = component.__init__ if inspect.isclass(component) else component
    hints = get_type_hints(owner, include_extras=True)
    found: dict[str, Option] = {}
    for name, parameter in inspect.signature(component).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        hint = hints[name]
        extras = hint.__metadata__ if get_origin(hint) is Annotated else ()
        found[name] = Option(
            name=name,
            hint=get_args(hint)[0] if extras else hint,
            default=parameter.default,
            range=next((e for e in extras if isinstance(e, Range)), None),
            when=next((e for e in extras if isinstance(e, When)), None),
            check=next((e for e in extras if isinstance(e, Check)), None),
        )
    return types.MappingProxyType(found)


def supplied(component: Callable[..., object]) -> tuple[str, ...]:
    """Name the parameters before the `*`: what the network supplies."""
    parameters = inspect.signature(component).parameters.values()
    return tuple(p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)


def complete(component: Callable[..., object], given: Mapping[str, object], *, subject: str) -> dict[str, Value]:
    """Fill in defaults and drop inactive options, so that two spellings of one choice are equal.

    Args:
        component: whose constructor is the schema.
        given: the options that somebody wrote.
        subject: who is speaking in an error, e.g. `context ppm`.

    Raises:
        BlockError: unknown options, wrong types, values out of bounds: all of them in one message.
    """
    schema, problems = options_of(component), []
    for name in given:
        if name not in schema:
            problems.append(law(subject, "options that exist", {"option": name}, nearest(name, schema)))
        elif need := schema[name].problem(given[name]):
            problems.append(law(f"{subject}.{name}", need, {name: given[name]}, "Change the value"))
    if problems:
        raise BlockError("\n".join(problems))
    full = {name: option.normal(given.get(name, option.default)) for name, option in schema.items()}
    return {name: value for name, value in full.items() if is_active(schema[name], full)}


def is_active(option: Option, values: Mapping[str, Value]) -> bool:
    """Tell whether an option exists, given the values of the others."""
    return option.when is None or values.get(option.when.option) in option.when.values
