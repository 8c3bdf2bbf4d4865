"""What a space leaves open: one question, and the answers it takes."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from blocks.options import Value


@dataclass(frozen=True, slots=True)
class Choices:
    """One of a few listed values (the names of components, where a component is chosen)."""

    values: tuple[Value, ...]
    _spelling: Mapping[object, Value] = field(init=False, repr=False, compare=False)

    discrete = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "_spelling", {key(value): value for value in self.values})

    @property
    def size(self) -> int:
        return len(self.values)

    @property
    def first(self) -> Value:
        """The answer that is listed first."""
        return self.values[0]

    def __iter__(self) -> Iterator[Value]:
        return iter(self.values)

    def __contains__(self, value: Value) -> bool:
        return key(value) in self._spelling

    def settled(self, value: Value) -> Value:
        """The listed spelling of an accepted answer."""
        return self._spelling[key(value)]

    def __str__(self) -> str:
        return "one of " + ", ".join(_text(v) for v in self.values)


@dataclass(frozen=True, slots=True)
class Span:
    """A number between two bounds, both included.

    Args:
        kind: whole numbers, or floats.
        low: least answer.
        high: greatest answer.
        step: distance between answers, counted from `low`; 1 for whole numbers, None for any float.
        log: sample evenly on a logarithmic scale.
    """

    kind: Literal["int", "float"]
    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False

    @property
    def discrete(self) -> bool:
        return self.step is not None

    @property
    def size(self) -> int | None:
        """How many answers there are, or None where they are continuous. [count]"""
        if self.step is None:
            return None
        return int((_decimal(self.high) - _decimal(self.low)) / _decimal(self.step)) + 1

    @property
    def last(self) -> int | float:
        """The greatest answer, which a step may keep below `high`."""
        return self.high if self.size is None else self.nth(self.size - 1)

    @property
    def first(self) -> int | float:
        """The least answer."""
        return self.low

    def __iter__(self) -> Iterator[Value]:
        return (self.nth(i) for i in range(self.size or 0))

    def __contains__(self, value: Value) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not math.isfinite(value) or not self.low <= value <= self.high:
            return False
        # A step in decimals is no exact float: 0.1 + 2 * 0.1 counts as 0.3.
        return self.step is None or math.isclose(self.nth(self._index(value)), value, rel_tol=1e-9, abs_tol=1e-12)

    def settled(self, value: Value) -> Value:
        """The exact spelling of an accepted answer: on the grid, and of the right type."""
        assert isinstance(value, int | float)
        if self.step is not None:
            return self.nth(self._index(value))
        return float(value)

    def _index(self, value: float) -> int:
        assert self.step is not None
        return round((_decimal(value) - _decimal(self.low)) / _decimal(self.step))

    def nth(self, index: int) -> int | float:
        """The answer that is `index` steps above the least."""
        assert self.step is not None
        exact = _decimal(self.low) + index * _decimal(self.step)
        return int(exact) if self.kind == "int" else float(exact)

    def __str__(self) -> str:
        how = ", log" if self.log else f", step {self.step}" if self.step not in (None, 1) else ""
        return f"{self.kind} from {self.low} to {self.high}{how}"


Domain = Choices | Span


@dataclass(frozen=True, slots=True)
class Question:
    """Something that is answered anew for each candidate.

    Args:
        path: where it stands, e.g. `architecture.context.ppm.bins`; the name of a slot where a component is chosen;
            `shared.width` where several places take the one answer.
        domain: the answers it takes.
        ordered: a later answer (of a list) or a greater one (of a range) makes a network at least as wide or deep:
            never faster, never less accurate. `search.partial_order` relies on it.
    """

    path: str
    domain: Domain
    ordered: bool = False

    @property
    def discrete(self) -> bool:
        return self.domain.discrete

    @property
    def size(self) -> int | None:
        """How many answers there are, or None where they are continuous. [count]"""
        return self.domain.size

    def __str__(self) -> str:
        return f"{self.path}: {self.domain}"


def drawn(domain: Domain, rng: random.Random) -> Value:
    """One answer by chance, evenly (on a logarithmic scale where the domain says so)."""
    if isinstance(domain, Choices):
        return rng.choice(domain.values)
    if domain.log:
        # Half a unit more on either side gives the outermost whole numbers their share.
        margin = 0.5 if domain.kind == "int" else 0.0
        value = math.exp(rng.uniform(math.log(domain.low - margin), math.log(domain.high + margin)))
        value = min(max(value, domain.low), domain.high)
        return domain.settled(value)
    if domain.size is not None:
        return domain.nth(rng.randrange(domain.size))
    return rng.uniform(domain.low, domain.high)


def key(value: Value) -> object:
    """Equal for values that a reader of the file takes for equal: 1 and 1.0 are, 1 and true are not."""
    return tuple(key(v) for v in value) if isinstance(value, tuple) else (isinstance(value, bool), value)


def same(left: Value, right: Value) -> bool:
    """Tell whether a reader of the file takes two values for equal."""
    return key(left) == key(right)


def _decimal(number: float) -> Decimal:
    return Decimal(repr(number))


def _text(value: Value) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_text(v) for v in value) + "]"
    return {True: "true", False: "false", None: "null"}[value] if isinstance(value, bool | None) else str(value)
