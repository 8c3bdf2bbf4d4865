"""What the architectures of a space cost, as rows."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch

from blocks.architecture import Architecture, Component
from blocks.catalogue import component_type
from blocks.cost import cost_of
from blocks.errors import BlockError, RunError, SpaceError, law
from blocks.measure import measure
from blocks.network import Network, untrained
from blocks.options import options_of, supplied
from nas.space import Space
from runners.data import DATASETS, DataInfo, dataset
from runners.memory import foretold
from runners.protocol import Protocol


@dataclass(frozen=True, slots=True)
class Input:
    """What a cost is stated for.

    Args:
        size: height and width of the image. [px]
        classes: how many classes the logits have. [count]
        image_channels: 1, 3 or 4. [count]
    """

    size: tuple[int, int]
    classes: int
    image_channels: int


def input_of(space: Space, *, size: tuple[int, int] | None, classes: int | None) -> Input:
    """Take what was published for its network, else what its data set says, unless the person says otherwise.

    No file of the data is touched.
    """
    # What a data set yields is known from its options; where it lies does not matter here.
    place = dict.fromkeys(supplied(DATASETS[space.data.name]), "unread")
    info: DataInfo = dataset(space.data, place).info
    known = space.published or info
    return Input(size or known.size, classes or known.classes, info.image_channels)


def architectures(space: Space, limit: int) -> Iterator[Architecture]:
    """Yield every architecture of a space that holds `limit` or fewer, else different ones drawn at random."""
    if space.count() <= limit:
        # A continuous question counts as one answer, yet has no end: such a space is sampled too.
        with contextlib.suppress(SpaceError):
            yield from space.architectures()
            return
    seen: set[Architecture] = set()
    chance = random.Random(space.search.seed)
    # A space that holds little repeats itself: give up in the end.
    for _ in range(20 * limit):
        architecture = space.sample(chance).architecture
        if architecture not in seen:
            seen.add(architecture)
            yield architecture
        if len(seen) == limit:
            return


def cost_row(architecture: Architecture, on: Input) -> dict[str, object]:
    """Count one architecture.

    Raises:
        BlockError: it cannot be built.
    """
    cost = cost_of(architecture, size=on.size, classes=on.classes, image_channels=on.image_channels)
    slots = {slot: described(slot, component) for slot, component in architecture.slots()}
    height, width = on.size
    stated = {"size": f"{height}x{width}", "image_channels": on.image_channels, "classes": on.classes}
    return {"fingerprint": architecture.fingerprint, **slots, **stated, **asdict(cost)}


def measured_row(architecture: Architecture, on: Input, device: str) -> dict[str, object]:
    """Measure one architecture on a device of this machine, at batch 1 and with random weights."""
    network = Network(untrained(architecture), size=on.size, classes=on.classes, image_channels=on.image_channels)
    found = measure(network, size=on.size, image_channels=on.image_channels, device=device)
    return {"device": device, **asdict(found)}


def training_of(space: Space, on: Input) -> Protocol:
    """How a network of a space is trained, to foretell its memory; one candidate's, where the training is searched."""
    candidate = space.sample(random.Random(space.search.seed))
    return Protocol(
        data=space.data,
        data_fingerprint="",
        size=on.size,
        classes=on.classes,
        image_channels=on.image_channels,
        training=candidate.training,
        main=candidate.main,
        coarse=candidate.coarse,
        auxiliary=candidate.auxiliary,
    )


def trained_row(architecture: Architecture, protocol: Protocol) -> dict[str, object]:
    """Foretell the memory of a training step."""
    return {"train_batch": protocol.recipe().batch, "train_memory_bytes": foretold(architecture, protocol).peak}


def check_device(name: str) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        RunError: it does not.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(name.partition(":")[0], False):
        known = ", ".join(device for device, there in present.items() if there)
        raise RunError(law("--device", "a device of this machine", {"device": name}, f"Known here: {known}"))


def chosen_device(name: str) -> torch.device:
    """The device of that name; of no name, the best of this machine.

    Raises:
        RunError: this machine does not have it.
    """
    if name:
        check_device(name)
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def described(slot: str, component: Component) -> str:
    """Write a component the short way: its name, its model, and the options that differ from their defaults."""
    schema = options_of(component_type(slot, component.name))
    changed = [f"{n}={_written(v)}" for n, v in component.options if v != schema[n].default or n == "model"]
    return " ".join([component.name, *changed])


def together(rows: list[dict[str, object]], columns: tuple[str, ...]) -> list[str]:
    """The columns that a person needs to see: of the slots, those that are not `none` throughout."""
    return [c for c in columns if any(row.get(c) not in (None, "none") for row in rows)]


def _written(value: object) -> str:
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, tuple) else str(value)


def rows_of(
    space: Space, on: Input, *, limit: int, device: str | None = None, training: Protocol | None = None
) -> tuple[list[dict[str, object]], list[BlockError]]:
    """Cost up to `limit` architectures; those that cannot be built come back as errors.

    Args:
        space: what to take them from.
        on: input size, classes and channels.
        limit: rows at most. [count]
        device: where to measure latency and peak memory too, or None.
        training: how to train where the memory of that is to be foretold too, or None.
    """
    rows: list[dict[str, object]] = []
    problems: list[BlockError] = []
    for architecture in itertools.islice(architectures(space, limit), limit):
        try:
            row = cost_row(architecture, on)
            row |= measured_row(architecture, on, device) if device else {}
            rows.append(row | (trained_row(architecture, training) if training else {}))
        except BlockError as error:
            problems.append(error)
    return rows, problems
