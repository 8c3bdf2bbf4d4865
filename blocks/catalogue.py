"""Every component by slot and name: ours, and other people's through entry points."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any

from blocks.aligns import ALIGNS
from blocks.architecture import SLOTS, Architecture, Component
from blocks.backbones import BACKBONES
from blocks.contexts import CONTEXTS, REFINES
from blocks.errors import BlockError, law, nearest
from blocks.heads import HEADS
from blocks.losses import AUXILIARIES, LOSSES
from blocks.options import complete

_OURS: Mapping[str, Mapping[str, type]] = {
    "backbone": BACKBONES,
    "context": CONTEXTS,
    "align": ALIGNS,
    "refine": REFINES,
    "head": HEADS,
    "loss": LOSSES,
    "auxiliary": AUXILIARIES,
}
KINDS = tuple(_OURS)
_GROUPS = {"refine": "nas.contexts", "loss": "nas.losses", "auxiliary": "nas.auxiliaries"}


@functools.cache
def catalogue(slot: str) -> Mapping[str, type]:
    """Return the components of a slot by name: backbone, context, align, refine, head, loss or auxiliary.

    Raises:
        BlockError: there is no such slot, or an installed package offers a name that is taken.
    """
    if slot not in _OURS:
        raise BlockError(law("A slot", "a known name", {"slot": slot}, nearest(slot, _OURS)))
    found = dict(_OURS[slot])
    for point in entry_points(group=_GROUPS.get(slot, f"nas.{slot}s")):
        if point.name in found:
            raise BlockError(
                law(f"A {slot} of another package", "a name of its own", {"name": point.name}, "Rename it")
            )
        found[point.name] = point.load()
    return MappingProxyType(found)


def component_type(slot: str, name: str) -> type:
    """Return the class behind a name.

    Raises:
        BlockError: the slot has no such component.
    """
    known = catalogue(slot)
    if name not in known:
        raise BlockError(law(f"The {slot} slot", "a component it knows", {slot: name}, nearest(name, known)))
    return known[name]


def component(slot: str, name: str, options: Mapping[str, Any] | None = None) -> Component:
    """Make the value of a component: defaults filled in, inactive options dropped.

    Raises:
        BlockError: unknown name, or options that its constructor does not take.
    """
    return Component.of(name, complete(component_type(slot, name), options or {}, subject=f"{slot} {name}"))


def completed(architecture: Architecture) -> Architecture:
    """Complete every slot of an architecture, so that it equals any other spelling of the same network."""
    slots = {slot: component(slot, c.name, dict(c.options)) for slot, c in architecture.slots()}
    return Architecture(**slots, align_corners=architecture.align_corners)


def versions(architecture: Architecture, losses: Iterable[tuple[str, Component]] = ()) -> dict[str, int]:
    """The version of each component in use: raised when its numbers change, and part of a result's identity.

    Args:
        architecture: the network.
        losses: what trains it, each with its slot: `loss` or `auxiliary`.
    """
    used = [(slot, slot, c.name) for slot, c in architecture.slots()]
    used += [(f"{slot}.{c.name}", slot, c.name) for slot, c in losses]
    return {key: component_type(slot, name).version for key, slot, name in used}  # type: ignore[attr-defined]


__all__ = ["KINDS", "SLOTS", "catalogue", "completed", "component", "component_type", "versions"]
