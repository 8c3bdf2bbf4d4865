"""What a space holds, in figures: how many networks, and what a sample of them costs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from blocks.architecture import Architecture
from blocks.cost import Cost, cost_of
from blocks.errors import BlockError
from nas.report.costs import described, input_of
from nas.report.tables import human
from nas.space import Space

COUNTED = ("params", "macs", "macs_conv", "activation_bytes")
"""Limits that are known without a device; the others are checked by the worker."""


@dataclass(slots=True)
class Sample:
    """Networks drawn from a space and what they cost.

    Args:
        costs: of the draws that can be built, one each, so that a network drawn twice counts twice.
        networks: the different networks in the order of the draws, with their cost or why they cannot be built.
    """

    costs: list[Cost] = field(default_factory=list)
    networks: dict[Architecture, Cost | BlockError] = field(default_factory=dict)

    def within(self, space: Space) -> int:
        """How many draws exceed no counted limit. [count]"""
        limits = {name: limit for name, limit in space.budget.items() if name in COUNTED}
        return sum(all(getattr(cost, name) <= limit for name, limit in limits.items()) for cost in self.costs)

    def bounds(self, figure: str) -> tuple[int | None, int | None]:
        """Least and most of a figure."""
        values = [getattr(cost, figure) for cost in self.costs]
        return min(values, default=None), max(values, default=None)

    def problems(self) -> list[str]:
        """Why networks cannot be built, each reason once."""
        return list(dict.fromkeys(str(found) for found in self.networks.values() if isinstance(found, BlockError)))


def sampled(space: Space, count: int) -> Sample:
    """Draw networks by chance and count what they cost, each different one once; no file of the data is touched."""
    chance, on, found = random.Random(space.search.seed), input_of(space, size=None, classes=None), Sample()
    for _ in range(count):
        architecture = space.sample(chance).architecture
        if architecture not in found.networks:
            try:
                cost = cost_of(architecture, size=on.size, classes=on.classes, image_channels=on.image_channels)
                found.networks[architecture] = cost
            except BlockError as error:
                found.networks[architecture] = error
        known = found.networks[architecture]
        if isinstance(known, Cost):
            found.costs.append(known)
    return found


def summary(space: Space, sample: Sample, draws: int) -> dict[str, object]:
    """The figures of a space as one flat row."""
    row: dict[str, object] = {
        "space": space.name,
        "architectures": space.count(),
        "training_settings": space.settings(),
        "continuous_questions": sum(not q.discrete for q in space.questions()),
        "samples": draws,
        "buildable": len(sample.costs),
        "within_budget": sample.within(space) / draws if draws else None,
    }
    for figure in ("params", "macs"):
        least, most = sample.bounds(figure)
        row |= {f"{figure}_min": least, f"{figure}_max": most}
    return row


def sentences(space: Space, row: dict[str, object]) -> Iterator[str]:
    """The same figures as lines for a person."""
    yield f"{space.name}: valid."
    continuous = [q.path for q in space.questions() if not q.discrete]
    yield f"{row['architectures']:,} architectures, {row['training_settings']:,} discrete training settings."
    questions = "continuous question" if len(continuous) == 1 else "continuous questions"
    yield f"{len(continuous)} {questions}{': ' + ', '.join(continuous) if continuous else ''}."
    limits = ", ".join(f"{name} <= {human(name, limit)}" for name, limit in space.budget.items()) or "no limit"
    share = row["within_budget"]
    if isinstance(share, float):
        yield f"Within budget ({limits}): {share:.0%} of {row['samples']} samples."
    unchecked = [name for name in space.budget if name not in COUNTED]
    if unchecked:
        yield f"Measured on the device before training, not here: {', '.join(unchecked)}."
    for figure in ("params", "macs"):
        if row[f"{figure}_min"] is not None:
            least, most = (human(figure, row[f"{figure}_{end}"]) for end in ("min", "max"))
            yield f"{figure}: {least} to {most}."


def examples(sample: Sample, count: int) -> list[dict[str, object]]:
    """A few of the networks, one flat row each."""
    rows: list[dict[str, object]] = []
    for architecture, cost in sample.networks.items():
        if isinstance(cost, Cost) and len(rows) < count:
            slots = {slot: described(slot, component) for slot, component in architecture.slots()}
            rows.append({**slots, "params": cost.params, "macs": cost.macs})
    return rows
