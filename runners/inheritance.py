"""Weights that a network begins with because an earlier one of its study was trained to them.

What two networks share is the tensors of equal names and shapes in slots that hold the same component. The weights
taken are those that the earlier network was judged by; all else of the new one starts as it would: the other parts, the
modules that losses own, the state of the optimiser.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Mapping
from math import prod

import torch
from torch import Tensor

from blocks.architecture import Architecture, Component
from blocks.errors import RunError, law
from blocks.meta import Shortcuts
from blocks.network import Network, untrained
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
    if not (slots := akin(own, other)):
        return 0
    about = (protocol.size, protocol.classes, protocol.image_channels)
    shapes = _layout(own, *about)
    return sum(prod(shapes[name]) for name in shared(shapes, _layout(other, *about), slots))


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
    return tuple(name for name, shape in own.items() if name.startswith(starts) and other.get(name) == shape)


@functools.lru_cache(maxsize=1024)
def _layout(
    architecture: Architecture, size: tuple[int, int], classes: int, image_channels: int
) -> Mapping[str, Shape]:
    """The shape of each parameter of a network."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"), Shortcuts():
        network = Network(untrained(architecture), size=size, classes=classes, image_channels=image_channels)
    return _shapes(dict(network.named_parameters()))


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _by_slot(own: Architecture, names: Collection[str], every: Collection[str]) -> str:
    """How many of each slot's tensors are among those named: `backbone 120 of 120, head 0 of 2 tensors`."""
    starts = {slot: f"stages.{slot}." for slot, _ in own.slots()}
    counts = {s: [sum(n.startswith(start) for n in some) for some in (names, every)] for s, start in starts.items()}
    return ", ".join(f"{slot} {some} of {all_}" for slot, (some, all_) in counts.items() if all_) + " tensors"
