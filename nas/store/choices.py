"""What was chosen, option by option: the rows of the `choice` table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Protocol as Interface

from blocks.architecture import Architecture, Component
from blocks.options import Value
from runners.protocol import Protocol


class Trained(Interface):
    """How a network is trained: a protocol, or a candidate of a space."""

    @property
    def training(self) -> tuple[tuple[str, Value], ...]:
        """Options of the recipe, complete."""

    @property
    def main(self) -> tuple[Component, ...]:
        """Losses on the logits."""

    @property
    def coarse(self) -> tuple[Component, ...]:
        """Losses on the coarse logits."""

    @property
    def auxiliary(self) -> tuple[Component, ...]:
        """Losses on what else the network gives."""


def choices_of(architecture: Architecture, protocol: Protocol) -> dict[str, Value]:
    """Spell a trial out as path -> value: `context` -> `ppm`, `context.ppm.bins` -> (1, 2, 4), `training.batch` -> 8.

    Losses that are added up share a path: `main` -> `cross_entropy+dice`.
    """
    return spelled(architecture, protocol) | _spelled("data", [protocol.data])


def spelled(architecture: Architecture, trained: Trained) -> dict[str, Value]:
    """The same without the data set, for what is compared before there is any."""
    found: dict[str, Value] = {}
    for slot, component in architecture.slots():
        found |= _spelled(slot, [component])
    found["align_corners"] = architecture.align_corners
    found |= {f"training.{name}": value for name, value in trained.training}
    for path in ("main", "coarse", "auxiliary"):
        found |= _spelled(path, getattr(trained, path))
    return found


def _spelled(path: str, components: Iterable[Component]) -> dict[str, Value]:
    components = tuple(components)
    options = {f"{path}.{c.name}.{option}": value for c in components for option, value in c.options}
    return {path: "+".join(c.name for c in components), **options}


def as_text(value: Value) -> str | None:
    """The one spelling of a value in the `choice` table: JSON, but text without its quotes; None is NULL."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(_shortest(value), separators=(",", ":"))


def _shortest(value: Value) -> Value:
    """Write 2.0 as 2: a person who asks for [0.5, 2] means the same."""
    if isinstance(value, tuple):
        return tuple(_shortest(v) for v in value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def as_number(value: Value) -> float | None:
    """The value again where it is a number that can be compared as one."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def choice_rows(trial_id: int, choices: Mapping[str, Value]) -> list[dict[str, object]]:
    """Make the rows to insert."""
    return [
        {"trial_id": trial_id, "path": path, "value": as_text(value), "number": as_number(value)}
        for path, value in choices.items()
    ]
