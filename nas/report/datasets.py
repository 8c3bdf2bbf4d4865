"""What is in a data set: every file read once, and all that is wrong with it named."""

from __future__ import annotations

import hashlib
import os
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from blocks.architecture import Component
from blocks.errors import DataError, RunError, law, nearest
from blocks.options import supplied
from nas.space import Space
from nas.space.files import shipped
from runners.data import DATASETS, IGNORE, DataInfo, DataSet, FromFiles, Split, SplitName, dataset
from runners.data.contract import SPLITS
from runners.data.files import FileSplit

_SHOWN = 5


class Sample(NamedTuple):
    """What one sample holds: its size on disk, the pixels of each label value, and a digest of its image."""

    size: tuple[int, int]
    pixels: NDArray[np.int64]
    digest: bytes


@dataclass(slots=True)
class Findings:
    """What a split holds.

    Args:
        samples: how many it has, or None where it cannot be opened. [count]
        checked: how many were read, wrong ones included. [count]
        sizes: how many samples have each height and width. [px]
        pixels: of each class, and in the last place of what is ignored. [count]
        images: that hold each class. [count]
        digests: of the images, with the names of the samples.
        strays: labels that belong to no image.
        problems: one sentence each.
    """

    samples: int | None
    checked: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(IGNORE + 1, np.int64))
    images: NDArray[np.int64] = field(default_factory=lambda: np.zeros(IGNORE + 1, np.int64))
    digests: dict[bytes, str] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, found: Sample | str) -> None:
        """Take in one sample, or what is wrong with it."""
        self.checked += 1
        if isinstance(found, str):
            self.problems.append(found)
            return
        self.sizes[found.size] += 1
        self.pixels += found.pixels
        self.images += found.pixels > 0
        self.digests[found.digest] = name


def named(name: str, sets: Sequence[str], root: str) -> tuple[Component, dict[str, str]]:
    """Read which data set is meant, and where it lies.

    Args:
        name: a file, a space that ships with nas, or a data set, which is then looked for where a space would.
        sets: changes as on the command line.
        root: where it lies, if the person says so.

    Raises:
        DataError: there is no such space or data set.
        SpaceError: the space is wrong, or an environment variable is not set.
        RunError: `root` is given to a data set that lies nowhere.
    """
    known = {*DATASETS, *shipped()}
    if name not in known and not Path(name).is_file():
        needs = "a data set, the name of a shipped space, or a file that exists"
        raise DataError(law("What is checked", needs, {"name": name}, nearest(name, known)))
    if name in DATASETS and name not in shipped():
        # Only the data of it matter. As a space, it reads options and variables as every space does.
        where = ", ".join(f'{key}: "${{{name.upper()}}}"' for key in supplied(DATASETS[name]))
        # `whole` judges samples of one size and of several.
        rest = "architecture: {backbone: {timm: {model: resnet18}}}\ntraining: {evaluation: whole}"
        text = f"data: {{{name}: {{{where}}}}}\n{rest}"
        space = Space.loads(text, name, sets)
    else:
        space = Space.load(name, sets)
    places = supplied(DATASETS[space.data.name])
    if root and not places:
        raise RunError(law("--root", "a data set of files", {"data": space.data.name}, "Drop it"))
    return space.data, {places[0]: root} if root else space.places()


def check(data: DataSet, *, limit: int = 0, seed: int = 0) -> dict[SplitName, Findings]:
    """Read the samples of both splits.

    Args:
        data: what to read.
        limit: samples of each split, drawn at random; 0 for all. [count]
        seed: of the draw.
    """
    return {split: _checked(data, split, limit, seed) for split in SPLITS}


def _checked(data: DataSet, name: SplitName, limit: int, seed: int) -> Findings:
    try:
        split = data.split(name)
    except DataError as error:
        return Findings(None, problems=list(error.problems))
    count, found = len(split), Findings(len(split))
    found.strays = split.strays() if isinstance(split, FileSplit) else []
    chosen = sorted(random.Random(seed).sample(range(count), limit)) if 0 < limit < count else range(count)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        try:
            samples = threads.map(lambda index: sample(split, index, data.info), chosen)
            for index, one in zip(chosen, _shown(samples, name, len(chosen)), strict=True):
                found.add(sample_name(split, index), one)
        except BaseException:
            # Whoever interrupts would otherwise wait for every file that is still to be read.
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def _shown(samples: Iterable[Sample | str], name: str, count: int) -> Iterator[Sample | str]:
    """Draw a bar for whoever watches."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(
        samples, f"Reading {name}", total=count, console=console, transient=True, disable=not sys.stderr.isatty()
    )


def sample(split: Split, index: int, info: DataInfo) -> Sample | str:
    """Read one sample at the size that it has, and return what it holds or what is wrong with it."""
    try:
        image, label = split.original(index) if isinstance(split, FromFiles) else split[index]
    except DataError as error:
        return str(error)
    pixels = torch.bincount(label.flatten().int(), minlength=IGNORE + 1).numpy()
    wrong = [value for value in np.flatnonzero(pixels).tolist() if info.classes <= value != IGNORE]
    if wrong:
        got = {"found": wrong[:_SHOWN], "sample": sample_name(split, index)}
        return law("A sample", f"labels from 0 to {info.classes - 1}, or {IGNORE}", got, "Correct its classes")
    height, width = label.shape
    digest = hashlib.blake2b(image.contiguous().numpy().tobytes(), digest_size=16).digest()
    return Sample((height, width), pixels.astype(np.int64), digest)


def sample_name(split: Split, index: int) -> str:
    """What a sample is called: its file, or its number where there is none."""
    return split.name(index) if isinstance(split, FromFiles) else f"sample {index}"


def catalogue_rows() -> list[dict[str, object]]:
    """Every data set that nas reads, and what is published of it."""
    rows = []
    for name, kind in DATASETS.items():
        info = dataset(Component(name), dict.fromkeys(supplied(kind), "unread")).info
        about = (kind.__doc__ or "").partition("\n")[0].replace("`", "")
        facts = info.facts
        row: dict[str, object] = {"data": name, "classes": None, "train": None, "val": None}
        if facts:
            row |= {"classes": info.classes, "train": facts.train, "val": facts.val}
            row |= {"crop": _size(facts.crop), "test": _size(facts.test)}
        rows.append(row | {"about": about})
    return rows


def split_rows(found: dict[SplitName, Findings], info: DataInfo) -> list[dict[str, object]]:
    """One row a split: how many samples, how large, how much of it is labelled."""
    return [_split_row(name, one, info) for name, one in found.items()]


def _split_row(name: SplitName, found: Findings, info: DataInfo) -> dict[str, object]:
    heights, widths = ([size[side] for size in found.sizes] for side in (0, 1))
    low, high = (min(heights, default=0), min(widths, default=0)), (max(heights, default=0), max(widths, default=0))
    total = found.pixels.sum()
    return {
        "split": name,
        "samples": found.samples,
        "published": getattr(info.facts, name, None),
        "checked": found.checked,
        "smallest": _size(low) if found.sizes else None,
        "largest": _size(high) if found.sizes else None,
        "labelled": 1.0 - float(found.pixels[IGNORE] / total) if total else None,
        "classes": int((found.pixels[: info.classes] > 0).sum()) if total else None,
        "problems": len(found.problems),
    }


def class_rows(found: dict[SplitName, Findings], info: DataInfo) -> list[dict[str, object]]:
    """One row a class, and one for what is ignored: its share of all pixels, and the images that hold it."""
    rows = []
    labels = [*enumerate(info.names), (IGNORE, "(ignored)")]
    for number, name in labels:
        row: dict[str, object] = {"id": number, "class": name}
        row["colour"] = "" if number == IGNORE else "#" + bytes(info.palette[number]).hex()
        for split, one in found.items():
            total = one.pixels.sum()
            row[f"{split}_share"] = float(one.pixels[number] / total) if total else None
            row[f"{split}_images"] = int(one.images[number]) if total else None
        rows.append(row)
    return rows


def problem_rows(found: dict[SplitName, Findings]) -> list[dict[str, object]]:
    """One row a problem."""
    return [{"split": name, "problem": problem} for name, one in found.items() for problem in one.problems]


def notes(found: dict[SplitName, Findings], info: DataInfo) -> list[str]:
    """What is no mistake, but good to know before a sweep."""
    said = []
    for name, one in found.items():
        published: Any = getattr(info.facts, name, None)
        if one.samples is not None and published not in (None, one.samples):
            said.append(f"{name} has {one.samples} samples; {published} are published.")
        if one.strays:
            said.append(f"{len(one.strays)} labels in {name} belong to no image: {_some(one.strays)}.")
        absent = [info.names[number] for number in range(info.classes) if not one.images[number]]
        if one.checked == one.samples and absent:
            said.append(f"No pixel in {name} is labelled {_some(absent)}.")
    twice = sorted(name for digest, name in found["train"].digests.items() if digest in found["val"].digests)
    if twice:
        said.append(f"{len(twice)} images are in both splits: {_some(twice)}.")
    return said


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
