"""Small real trials on the embedded data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from blocks.architecture import Architecture, Component
from blocks.catalogue import completed
from blocks.options import complete
from runners.data import dataset
from runners.protocol import Epoch, Outcome, Proposal, Protocol, Work
from runners.recipe import train
from runners.training import Training

DATA = Component.of("shapes", {"size": (32, 32), "train": 20, "val": 6})
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(place={}, folder=tmp_path / "trials")


def make_proposal(
    trial: int = 0,
    *,
    model: str = "test_resnet",
    drop_path: float = 0.0,
    data: Component = DATA,
    seed: int = 0,
    done: int = 0,
    limits: dict[str, float] | None = None,
    auxiliary: tuple[Component, ...] = (),
    **training: Any,
) -> Proposal:
    info = dataset(data, {}).info
    architecture = Architecture(
        backbone=Component.of("timm", {"model": model, "drop_path": drop_path}),
        align=Component.of("bilinear", {"channels": 16}),
    )
    options = complete(Training, {"epochs": 2, "batch": 4} | training, subject="training")
    protocol = Protocol(
        data=data,
        data_fingerprint=dataset(data, {}).fingerprint(),
        size=info.size,
        classes=info.classes,
        image_channels=info.image_channels,
        training=tuple(sorted(options.items())),
        main=(Component("cross_entropy"),),
        coarse=(),
        auxiliary=auxiliary,
    )
    return Proposal(
        trial=trial,
        architecture=completed(architecture),
        protocol=protocol,
        seed=seed,
        limits=limits or {},
        done=done,
    )


def run_trial(
    p: Proposal, work: Work, until: int | None = None, then: Callable[[Epoch], None] | None = None
) -> tuple[list[Epoch], Outcome | None]:
    """Train to the end or, like a person who interrupts, up to an epoch."""
    epochs, running = [], train(p, work, dataset(p.protocol.data, work.place), CPU)
    while True:
        try:
            epoch = next(running)
        except StopIteration as end:
            return epochs, end.value
        epochs.append(epoch)
        if then:
            then(epoch)
        if epoch.epoch == until:
            running.close()
            return epochs, None


def comparable(epochs: list[Epoch]) -> list[tuple[object, ...]]:
    """What must be the same when nothing but time and place differ."""
    return [(e.epoch, e.loss, e.miou, e.pixel_accuracy, e.class_iou, e.learning_rate) for e in epochs]


@pytest.fixture
def proposal() -> Callable[..., Proposal]:
    return make_proposal


@pytest.fixture
def carry_out() -> Callable[..., tuple[list[Epoch], Outcome | None]]:
    return run_trial


@pytest.fixture
def numbers() -> Callable[[list[Epoch]], list[tuple[object, ...]]]:
    return comparable
