"""Small real trials on the embedded data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

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


SIZES = ((40, 60), (72, 48), (33, 95), (64, 64), (50, 41))


def draw_varied(root: Path, image: str = "images/{}/{}.png", label: str = "labels/{}/{}.png", first: int = 0) -> Path:
    """Images of several sizes and proportions that show their own labels: blocks of three classes, some ignored.

    `image` and `label` are the names of files, given the split and a name; `first` is the value of the first class.
    """
    for split in ("train", "val"):
        for number, (height, width) in enumerate(SIZES):
            rng = np.random.default_rng([number, split == "val"])
            blocks = rng.integers(0, 3, (-(-height // 8), -(-width // 8)), dtype=np.uint8)
            classes = blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
            pixels = np.stack([classes * 100 + 20, 220 - classes * 100, np.full_like(classes, 128)], axis=-1)
            values = classes + np.uint8(first)
            values[:3] = 255
            for name, drawn in ((image, pixels), (label, values)):
                path = root / name.format(split, f"{number:02d}")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(drawn).save(path)
    return root


@pytest.fixture
def varied(tmp_path: Path) -> Path:
    """A folder of such images in the layout of `folder`, five to train on and five to evaluate on."""
    return draw_varied(tmp_path / "varied")


@pytest.fixture(name="draw_varied")
def drawing_varied() -> Callable[..., Path]:
    return draw_varied
