"""The value that everything else is about: one component per slot. No torch is imported here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from blocks.errors import BlockError, law
from blocks.options import Value

SLOTS = ("backbone", "context", "align", "refine", "head")


def freeze(value: Any) -> Value:
    """Turn JSON's lists into tuples, all the way down."""
    return tuple(freeze(v) for v in value) if isinstance(value, list | tuple) else value


def canonical_json(value: object) -> str:
    """The one spelling of a plain value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(text: str) -> str:
    """A short hash to key results by: 16 hexadecimal digits of SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Component:
    """A name and its options, sorted, hashable. Options are complete once `blocks.catalogue.component` made it."""

    name: str
    options: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def of(cls, name: str, options: Mapping[str, Any] | None = None) -> Self:
        return cls(name, tuple(sorted((k, freeze(v)) for k, v in (options or {}).items())))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Mapping[str, Any]]) -> Self:
        ((name, options),) = plain.items()
        return cls.of(name, options)

    def plain(self) -> dict[str, dict[str, Value]]:
        """The JSON form: `{name: {option: value}}`."""
        return {self.name: dict(self.options)}

    def __getitem__(self, option: str) -> Value:
        return dict(self.options)[option]


NONE = Component("none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One network as a value: equal spellings are equal, and `fingerprint` keys its results.

    Args:
        backbone: image -> pyramid.
        context: deepest map -> deepest map, or the whole pyramid.
        align: pyramid -> one map.
        refine: the catalogue of contexts again, on the aligned map.
        head: map -> logits.
        align_corners: how every resize in the network maps corners, decided once.
    """

    backbone: Component
    context: Component = NONE
    align: Component = field(default_factory=lambda: Component("last"))
    refine: Component = NONE
    head: Component = field(default_factory=lambda: Component("linear"))
    align_corners: bool = False

    def slots(self) -> Iterator[tuple[str, Component]]:
        """Yield each slot's name and component, from image to logits."""
        for slot in SLOTS:
            yield slot, getattr(self, slot)

    def summary(self) -> str:
        """A line for people: `resnet18 + ppm + bilinear + linear`."""
        names = (str(dict(c.options).get("model", c.name)) for _, c in self.slots() if c.name != "none")
        return " + ".join(names)

    def canonical(self) -> str:
        """The one JSON spelling: what `fingerprint` hashes and the store keeps."""
        plain: dict[str, object] = {slot: component.plain() for slot, component in self.slots()}
        return canonical_json(plain | {"align_corners": self.align_corners})

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.canonical())

    @classmethod
    def from_canonical(cls, text: str) -> Self:
        """Read `canonical()` back.

        Raises:
            BlockError: the text is not an architecture of this version.
        """
        plain = json.loads(text)
        known = {f.name for f in fields(cls)}
        if not isinstance(plain, dict) or set(plain) - known or "backbone" not in plain:
            raise BlockError(law("An architecture", "the slots of this version", {"text": text[:80]}, "Store it anew"))
        corners = plain.pop("align_corners", False)
        return cls(**{slot: Component.from_plain(value) for slot, value in plain.items()}, align_corners=corners)
