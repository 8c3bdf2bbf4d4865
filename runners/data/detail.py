"""Labels as runs of pixels in one large JSON file: the annotations of the PASCAL in Detail challenge."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from blocks.errors import DataError, law
from runners.data.contract import SPLITS, SplitName, report
from runners.data.decode import Coding, labelled, need_same_size, read_image
from runners.data.files import need_folders
from runners.data.frame import Frame


class Region(NamedTuple):
    """One annotated region: what it is, and the runs of pixels outside and inside it, by turns, as text."""

    category: int
    counts: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """All regions of one image."""

    image: str
    size: tuple[int, int]
    regions: tuple[Region, ...]

    def values(self) -> NDArray[np.int64]:
        """Paint the regions one after the other on a canvas of zeros, (H, W)."""
        canvas = np.zeros(self.size, np.int64)
        for region in self.regions:
            canvas[mask(region.counts, self.size)] = region.category
        return canvas


def mask(counts: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode a region as COCO compresses it: runs along columns, the first of them outside."""
    runs = lengths(counts)
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    if flat.size != size[0] * size[1]:
        raise ValueError(f"{flat.size} pixels for {size[0]}x{size[1]}")
    return flat.reshape(size[1], size[0]).T


def lengths(counts: str) -> list[int]:
    """Decode run lengths. A character holds five bits, lowest first, and whether more follow; the sixth says so.

    From the fourth on, a number is the difference to the one before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        code = ord(character) - 48
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


@functools.lru_cache(maxsize=1)
def drawings(path: Path, subject: str) -> dict[str, tuple[Drawing, ...]]:
    """Read the file, which takes a while and a few gigabytes: the images of each split, sorted by name.

    Raises:
        DataError: it is not what was published.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        regions = defaultdict(list)
        for one in found["annos_segmentation"]:
            regions[one["image_id"]].append(Region(one["category_id"], one["segmentation"]["counts"]))
        splits: dict[str, list[Drawing]] = defaultdict(list)
        for image in sorted(found["images"], key=lambda image: str(image["file_name"])):
            size = (image["height"], image["width"])
            splits[image["phase"]].append(Drawing(image["file_name"], size, tuple(regions[image["image_id"]])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        got = {"file": str(path), "error": repr(error)}
        raise DataError(law(subject, "the annotations as published", got, "Restore the file")) from error
    return {name: tuple(images) for name, images in splits.items()}


def _present(path: Path, split: SplitName, images: Path, subject: str) -> tuple[Drawing, ...]:
    """Return the drawings of a split, and raise DataError unless there are some and all their images are there."""
    need_folders(subject, images.parent, (images.name,))
    found, there = drawings(path, subject).get(split, ()), {image.name for image in images.iterdir()}
    if not found:
        got = {"file": str(path), "images": 0}
        raise DataError(law(subject, f"images to {split} with", got, "Restore the file"))
    missing = [drawing.image for drawing in found if drawing.image not in there]
    remedy = f"It belongs into {images.name}"
    report([law(subject, "an image for each annotation", {"missing": name}, remedy) for name in missing])
    return found


def detail_fingerprint(path: Path, images: Path, subject: str, version: int) -> str:
    """Hash the size of the annotations, the names and sizes of the images, and the version of the code."""
    digest = hashlib.sha256(f"{version}\n{path.name}\t{path.stat().st_size}\n".encode())
    for split in SPLITS:
        for drawing in _present(path, split, images, subject):
            digest.update(f"{drawing.image}\t{(images / drawing.image).stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


class DetailSplit:
    """One split of such a data set."""

    def __init__(
        self, path: Path, split: SplitName, coding: Coding, *, images: Path, frame: Frame, subject: str
    ) -> None:
        self._path, self._images, self._subject = path, images, subject
        self._drawings = _present(path, split, images, subject)
        self._coding, self._frame = coding, frame

    def __len__(self) -> int:
        return len(self._drawings)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._frame.fit(*self.original(index))

    def name(self, index: int) -> str:
        return f"{self._images.name}/{self._drawings[index].image}"

    def original(self, index: int) -> tuple[Tensor, Tensor]:
        path = self._images / self._drawings[index].image
        image, label = read_image(path, self._subject, channels=3), self.label(index)
        need_same_size(self._subject, image, label, path)
        return image, label

    def label(self, index: int) -> Tensor:
        drawing = self._drawings[index]
        try:
            values = drawing.values()
        except ValueError as error:
            got = {"image": drawing.image, "error": str(error), "file": str(self._path)}
            raise DataError(law(self._subject, "regions as large as their image", got, "Restore the file")) from error
        return labelled(values, self._coding, subject=self._subject, where=self._images / drawing.image)
