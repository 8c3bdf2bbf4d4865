"""The file of weights that a study's networks start from: read once, held to every backbone, known by its contents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from blocks.architecture import Architecture, Component
from blocks.errors import BlockError, SpaceError, law
from blocks.meta import Shortcuts
from blocks.network import Network, untrained
from nas.space import Space
from nas.study.work import info_of
from runners.data import DataInfo
from runners.matching import Matched, match
from runners.weights import fingerprint_of, read

_SHOWN = 3


def pinned(space: Space) -> Space:
    """The same space with the hash of its file of weights, which must fit every backbone that the space holds.

    A file fits a few networks of many that vary in their backbone. To train the others from scratch would compare what
    had the weights with what had not, and to let them fail would waste their trials; so neither is begun.

    Raises:
        SpaceError: the path names a variable that is not set, or there are backbones that the file does not fit.
        DataError: the file is missing, damaged, or holds more than tensors.
    """
    path = space.weights_file()
    if path is None:
        return space
    found = replace(space, weights_hash=fingerprint_of(path))
    fits = list(fitting(space, path))
    if wrong := {backbone: problem for backbone, problem in fits if isinstance(problem, BlockError)}:
        first, *_ = wrong.values()
        if len(fits) == 1:
            raise SpaceError(str(first)) from first
        got = {"without": f"{len(wrong)} of {len(fits)}", "such as": [_shown(each) for each in wrong][:_SHOWN]}
        needs, remedy = "a file that fits every backbone of the space", f"Search those that it fits: {first}"
        raise SpaceError(law("training.weights", needs, got, remedy)) from first
    return found


def fitting(space: Space, path: Path, info: DataInfo | None = None) -> Iterator[tuple[Component, Matched | BlockError]]:
    """Hold a file of weights to a network of each backbone that a space holds, without allocating any.

    Networks that cannot be built are left out.

    Raises:
        DataError: the file is missing, damaged, or holds more than tensors.
    """
    tensors, info = read(path), info or info_of(space)
    seen: set[Component] = set()
    for architecture in space.backbones():
        backbone = architecture.backbone
        if backbone in seen:
            continue
        seen.add(backbone)
        try:
            network = on_meta(architecture, info)
        except BlockError:
            continue
        try:
            yield backbone, match(network, tensors, path.name)[0]
        except BlockError as error:
            yield backbone, error


def on_meta(architecture: Architecture, info: DataInfo) -> Network:
    """A network that has shapes but no weights.

    Raises:
        BlockError: it cannot be built.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"), Shortcuts():
        return Network(
            untrained(architecture), size=info.size, classes=info.classes, image_channels=info.image_channels
        )


def _shown(component: Component) -> str:
    model = dict(component.options).get("model")
    return str(model or component.name)
