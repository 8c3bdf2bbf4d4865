"""Weights that a network begins with because an earlier one of its study was trained to them.

What two networks share is the tensors of equal names and shapes in slots that hold the same component. The weights
taken are those that the earlier network was judged by; all else of the new one starts as it would: the other parts, the
modules that losses own, the state of the optimiser.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import cast

import torch
from torch import Tensor

from blocks.architecture import SLOTS, Architecture, Component
from blocks.catalogue import completed
from blocks.errors import RunError, law
from blocks.features import Shapes, Stage
from blocks.meta import Shortcuts
from blocks.network import Network, build_stage, image_shapes, untrained
from runners import checkpoint
from runners.identity import Parent
from runners.inference import judged
from runners.matching import Shape
from runners.protocol import Protocol, Work

_log = logging.getLogger("nas.recipe")


class Orphaned(RunError):  # noqa: N818  # a thing that happens to a trial, and named so in its record
    """The weights that a trial is to begin with are not there any more."""


def inherit(network: Network, own: Architecture, parent: Parent, work: Work) -> dict[str, Tensor]:
    """What a network takes over from its parent, by name; logs what came of each tensor.

    A trial that cannot begin as it was recorded fails: a fresh start under the same key would be another result.

    Args:
        network: that is to begin; left as it is.
        own: its architecture.
        parent: whose weights are wanted.
        work: says where checkpoints lie.

    Raises:
        Orphaned: the parent's checkpoint is gone, damaged, or of another result.
    """
    path = work.checkpoint(parent.trial)
    if not path.is_file():
        remedy = "Keep all of them (resources.keep: last) in a folder that every worker sees"
        got = {"parent": parent.trial, "missing": str(path)}
        raise Orphaned(law("A trial that inherits weights", "its parent's checkpoint", got, remedy))
    try:
        found = judged(checkpoint.read(path, identity=parent.identity, device=torch.device("cpu")))
    except RunError as error:
        raise Orphaned(str(error)) from error
    shapes, theirs = _shapes(network.state_dict()), _shapes(found)
    names = shared(shapes, theirs, akin(own, parent.architecture))
    _log.info("begins with the weights of trial %d: %s", parent.trial, _by_slot(own, names, shapes))
    return {name: found[name] for name in names}


def in_common(own: Architecture, other: Architecture, protocol: Protocol) -> int:
    """How many parameters one network would take over from another, counted without allocating either. [count]

    Raises:
        BlockError: one of them cannot be built.
    """
    slots, count = akin(own, other), 0
    for slot, mine, theirs in zip(SLOTS, _parts(own, protocol), _parts(other, protocol), strict=True):
        if slot in slots:
            same = mine.tensors.keys() if mine is theirs else _equal(mine.tensors, theirs.tensors)
            count += sum(prod(mine.tensors[name]) for name in same)
    return count


def akin(own: Architecture, other: Architecture) -> frozenset[str]:
    """The slots that hold the same component in both, whatever its options.

    timm's models are as many components under one name: those of one family have tensors in common by chance, as the
    stems of all ResNets are of one shape.
    """
    theirs = dict(other.slots())
    return frozenset(slot for slot, component in own.slots() if _kind(component) == _kind(theirs[slot]))


def _kind(component: Component) -> tuple[str, object]:
    return component.name, dict(component.options).get("model")


def shared(own: Mapping[str, Shape], other: Mapping[str, Shape], slots: Collection[str]) -> tuple[str, ...]:
    """The names of tensors that both networks have in these slots with equal shapes."""
    starts = tuple(f"stages.{slot}." for slot in slots)
    return tuple(name for name in _equal(own, other) if name.startswith(starts))


def _equal(own: Mapping[str, Shape], other: Mapping[str, Shape]) -> Iterator[str]:
    return (name for name, shape in own.items() if other.get(name) == shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A stage of a network that was never allocated: the shapes of its parameters, and what it hands on."""

    tensors: Mapping[str, Shape]
    out: Shapes


def _parts(architecture: Architecture, protocol: Protocol) -> Iterator[_Part]:
    choice = completed(untrained(architecture))
    part = _image(protocol.size, protocol.classes, protocol.image_channels, choice.align_corners)
    for slot, component in choice.slots():
        part = _grown(part, slot, component)
        yield part


@functools.lru_cache(maxsize=64)
def _image(size: tuple[int, int], classes: int, image_channels: int, align_corners: bool) -> _Part:
    return _Part({}, image_shapes(size, classes, image_channels, align_corners))


@functools.lru_cache(maxsize=4096)
def _grown(before: _Part, slot: str, component: Component) -> _Part:
    # A search compares each network with many that begin alike: those stages are built once.
    with torch.random.fork_rng(devices=[]), torch.device("meta"), Shortcuts():
        stage = build_stage(slot, component, before.out)
    return _Part(_shapes(dict(stage.named_parameters())), cast(Stage, stage).out)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _by_slot(own: Architecture, names: Collection[str], every: Collection[str]) -> str:
    """How many of each slot's tensors are among those named: `backbone 120 of 120, head 0 of 2 tensors`."""
    starts = {slot: f"stages.{slot}." for slot, _ in own.slots()}
    counts = {s: [sum(n.startswith(start) for n in some) for some in (names, every)] for s, start in starts.items()}
    return ", ".join(f"{slot} {some} of {all_}" for slot, (some, all_) in counts.items() if all_) + " tensors"
