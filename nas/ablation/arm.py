"""An arm, and in what it differs from another: computed from what the two are, not from how they were asked for."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from itertools import chain

from blocks.options import Value
from nas.space import Candidate
from nas.space.ablation import short
from nas.space.questions import same
from nas.space.tree import Asked, Tree
from nas.store import as_text, spelled


@dataclass(frozen=True, slots=True)
class Difference:
    """One place that two arms fill differently.

    Args:
        place: e.g. `context` or `context.ppm.channels`.
        before: what the baseline holds there.
        after: what the arm holds there.
    """

    place: str
    before: Value
    after: Value

    def __str__(self) -> str:
        return f"{self.place}: {as_text(self.before)} -> {as_text(self.after)}"


@dataclass(frozen=True, slots=True)
class Arm:
    """What is trained, with several seeds, to be compared.

    Args:
        name: in tables and in the store.
        candidate: the network and its training.
        differences: from the baseline; empty for the baseline itself.
    """

    name: str
    candidate: Candidate
    differences: tuple[Difference, ...] = ()


def differences(before: Candidate, after: Candidate) -> tuple[Difference, ...]:
    """The places that both have and fill differently.

    The options that come and go with a component, or with another option, are part of that difference.
    """
    return tuple(
        Difference(place, left[place], right[place])
        for left, right in [(spelled(before.architecture, before), spelled(after.architecture, after))]
        for place in left
        if place in right and not same(left[place], right[place])
    )


def unasked(found: tuple[Difference, ...], asked: Set[str], tree: Tree) -> list[str]:
    """Places that differ although none of the questions that were answered anew has anything to do with them."""
    fed = places(tree)
    near = {short(path) for path in asked} | {place for path in asked for place in fed.get(path, ())}
    within = tuple(f"{place}." for place in near)
    return [each.place for each in found if each.place not in near and not each.place.startswith(within)]


def places(tree: Tree) -> Mapping[str, frozenset[str]]:
    """Question -> the places that its answer fills: one, or several where it is shared."""
    found: dict[str, set[str]] = {}
    for slot in chain(tree.slots, *tree.losses):
        if slot.question is not None:
            found.setdefault(slot.question.path, set()).add(short(slot.path))
    for part in (tree.rest, tree.training, *(p for s in chain(tree.slots, *tree.losses) for p in s.parts.values())):
        for each in part.fields:
            if isinstance(each.leaf, Asked):
                found.setdefault(each.leaf.question.path, set()).add(f"{short(part.path)}.{each.option.name}")
    # `align_corners` belongs to no slot: its path is that of the architecture, which nobody writes.
    return {path: frozenset(name.removeprefix("architecture.") for name in names) for path, names in found.items()}
