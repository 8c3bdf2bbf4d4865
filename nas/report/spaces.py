"""What a space holds, in figures: how many networks, and what a sample of them costs."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from blocks.architecture import Architecture
from blocks.cost import Cost, cost_of
from blocks.errors import BlockError, SpaceError
from nas.report.costs import described, input_of
from nas.space import Space

COUNTED = ("params", "macs", "macs_conv", "activation_bytes")
"""Limits that are known without a device; the others are checked by the worker."""


@dataclass(slots=True)
class Sample:
    """Networks drawn from a space and what they cost.

    Args:
        costs: of the networks that can be built, one per draw.
        drawn: the different networks, in the order of the draws; None for the cost of one that cannot be built.
        problems: why networks cannot be built, once each.
    """

    costs: list[Cost] = field(default_factory=list)
    drawn: dict[Architecture, Cost | None] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=dict)

    def within(self, space: Space) -> int:
        """How many draws exceed no counted limit. [count]"""
        limits = {name: limit for name, limit in space.budget.items() if name in COUNTED}
        return sum(all(getattr(cost, name) <= limit for name, limit in limits.items()) for cost in self.costs)

    def bounds(self, figure: str) -> tuple[int, int] | tuple[None, None]:
        """Least and most of a figure."""
        values = [getattr(cost, figure) for cost in self.costs]
        return (min(values), max(values)) if values else (None, None)


def sampled(space: Space, count: int, *, seed: int = 0) -> Sample:
    """Draw networks by chance and count what they cost, each different one once; no file of the data is touched."""
    chance, on, found = random.Random(seed), input_of(space, size=None, classes=None), Sample()
    for _ in range(count):
        architecture = space.sample(chance).architecture
        if architecture not in found.drawn:
            try:
                found.drawn[architecture] = cost_of(
                    architecture, size=on.size, classes=on.classes, image_channels=on.image_channels
                )
            except BlockError as error:
                found.drawn[architecture] = None
                found.problems[str(error)] = 0
                _blame(found, architecture, str(error))
        cost = found.drawn[architecture]
        if cost is not None:
            found.costs.append(cost)
    return found
