"""Files that are damaged while a trial is in training."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blocks.architecture import Component
from blocks.errors import DataError
from runners.data import dataset
from runners.data.contract import UnreadableError
from runners.evaluate import evaluate_split
from runners.failure import failure
from runners.inference import Inference
from runners.protocol import Finished
from runners.recipe import train

TRAIN, VAL = 104, 101
FOLDER = Component.of("folder", {"size": (32, 32), "classes": 3})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", VAL)):
        for kind in ("images", "labels"):
            (tmp_path / "data" / kind / split).mkdir(parents=True)
        for index in range(count):
            image, label = rng.integers(0, 256, (32, 32, 3)), rng.integers(0, 3, (32, 32))
            Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"data/images/{split}/{index:03d}.jpg")
            Image.fromarray(label.astype(np.uint8)).save(tmp_path / f"data/labels/{split}/{index:03d}.png")
    return tmp_path / "data"


@pytest.fixture
def on_disk(root, proposal, work):
    """A proposal on these files, and how it is carried out: cached in this test's own folder, or not at all."""
    place = {"root": str(root)}
    data = dataset(FOLDER, place)
    base = proposal()
    protocol = dataclasses.replace(
        base.protocol, data=FOLDER, data_fingerprint=data.fingerprint(), classes=3,
        training=tuple(sorted((dict(base.protocol.training) | {"epochs": 3, "batch": 26}).items())),
    )  # fmt: skip
    return dataclasses.replace(base, protocol=protocol), dataclasses.replace(
        work, place=place, cache=str(root / "cache")
    )


def truncate(path: Path) -> None:
    """Cut it off, and put something in its place that is as large: the fingerprint is one of names and sizes."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def carry_on(p, work, then=lambda epoch: None):
    epochs, running = [], train(p, work, dataset(FOLDER, work.place), torch.device("cpu"))
    try:
        while True:
            epochs.append(next(running))
            then(epochs[-1])
    except StopIteration as end:
        return epochs, end.value


def is_read(root, name):
    split = dataset(FOLDER, {"root": str(root)}).split("train" if "train" in name else "val")
    try:
        split[int(Path(name).stem)]
    except UnreadableError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("loaders", [0, 2])
@pytest.mark.parametrize("cached", [True, False])
def test_damaged_at_the_start(root, on_disk, numbers, loaders, cached):
    for name in ("images/train/007.jpg", "images/val/003.jpg"):
        (root / name).write_bytes((root / name).read_bytes()[:200] + bytes((root / name).stat().st_size - 200))
        assert not is_read(root, name)
    p, work = on_disk
    work = dataclasses.replace(work, loaders=loaders, **({} if cached else {"cache_bytes": 0}))
    epochs, outcome = carry_on(p, work)
    assert outcome == Finished()
    log = epochs[0].log
    assert log.count("replaced: ") == log.count("train/007.jpg") == 1
    assert log.count("left out: ") == log.count("val/003.jpg") == 1
    assert "split train, 1 of 104 images cannot be read and are replaced" in log
    assert "split val, 1 of 101 images cannot be read and are left out" in log
    assert "007.jpg" not in epochs[1].log
    assert "epoch 2: Data set folder, split train, 1 of 104" in epochs[1].log
    reference, _ = carry_on(p, dataclasses.replace(work, loaders=0, cache_bytes=10**9, folder=root / "other"))
    assert numbers(epochs) == numbers(reference)


@pytest.mark.slow
@pytest.mark.parametrize("loaders", [0, 2])
def test_damaged_between_epochs(root, on_disk, loaders):
    p, work = on_disk
    victims = [root / f"images/train/{index:03d}.jpg" for index in (20, 30)]

    def damage(epoch):
        if epoch.epoch < 3:
            victims[epoch.epoch - 1].unlink()

    with pytest.raises(DataError, match=r"at most 1% .*unreadable=2, images=104") as error:
        carry_on(p, dataclasses.replace(work, loaders=loaders, cache_bytes=0), damage)
    assert "020.jpg" in str(error.value)
    assert "030.jpg" in str(error.value)
    outcome = failure(error.value)
    assert outcome.hopeless
    assert outcome.reason.startswith("Data set folder, split train, needs at most 1%")


@pytest.mark.slow
def test_what_is_cached_already_needs_no_files(root, on_disk, numbers):
    p, work = on_disk
    whole, _ = carry_on(p, work)

    def damage(epoch):
        for path in root.glob("images/*/*.jpg"):
            path.write_bytes(bytes(path.stat().st_size))

    found, _ = carry_on(p, dataclasses.replace(work, folder=root / "other"), damage)
    assert numbers(found) == numbers(whole)
    assert all("replaced" not in epoch.log for epoch in found)


def test_many_at_the_start_are_named_before_the_first_step(root, on_disk):
    for index in range(12):
        truncate(root / f"images/train/{index:03d}.jpg")
        (root / f"images/train/{index:03d}.jpg").write_bytes(bytes(300))
    data = dataset(FOLDER, {"root": str(root)})
    p, work = on_disk
    p = dataclasses.replace(p, protocol=dataclasses.replace(p.protocol, data_fingerprint=data.fingerprint()))
    with pytest.raises(DataError, match="unreadable=12, images=104") as error:
        carry_on(p, work)
    assert sum(".jpg" in line for line in str(error.value).splitlines()) == 10
    assert len(error.value.problems) == 12


class Flat(torch.nn.Module):
    """Says class 0 everywhere."""

    def forward(self, x):
        return torch.stack([torch.ones_like(x[:, 0]), *[torch.zeros_like(x[:, 0])] * 2], dim=1)


def test_a_final_evaluation_leaves_it_out_too(root, caplog):
    data = dataset(FOLDER, {"root": str(root)})
    split = data.split("train")
    (root / "images/train/005.jpg").write_bytes(b"")
    with caplog.at_level(logging.WARNING, logger="nas"):
        scores = evaluate_split(Flat(), split, data.info, Inference(), device=torch.device("cpu"))
    assert "left out: " in caplog.text
    assert "005.jpg" in caplog.text
    labels = [split.original(i)[1] for i in range(TRAIN) if i != 5]
    assert scores.pixel_accuracy == pytest.approx(float((torch.stack(labels) == 0).double().mean()))
    (root / "images/train/006.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="unreadable=2"):
        evaluate_split(Flat(), split, data.info, Inference(), device=torch.device("cpu"))
