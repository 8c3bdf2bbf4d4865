"""Images and labels on disk: find them, and say which one is missing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from blocks.errors import DataError, law
from runners.data.contract import SPLITS, SplitName, report, unseen
from runners.data.decode import ENDINGS, Coding, need_same_size, read_image, read_label
from runners.data.frame import Frame

CONVERTED = "labelTrainIds"
"""What the usual tool boxes end the names of labels in that they converted."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its label."""

    image: Path
    label: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the files of a data set lie.

    Args:
        subject: who is speaking in an error, e.g. `Data set camvid`.
        root: the folder that everything else is relative to.
        images: sub-folder of images.
        labels: sub-folder of labels.
        train: sub-folder of both for training.
        val: sub-folder of both for evaluation.
        test: sub-folder of both that no search looks at; it need not be there.
        image_suffix: what follows the shared name in an image's file name, before the extension.
        label_suffix: the same for labels.
    """

    subject: str
    root: Path
    images: str = "images"
    labels: str = "labels"
    train: str = "train"
    val: str = "val"
    test: str = "test"
    image_suffix: str = ""
    label_suffix: str = ""

    def pairs(self, split: SplitName) -> tuple[Pair, ...]:
        """List a split's images with their labels, sorted by name.

        Raises:
            DataError: a folder or labels are missing, or there is nothing.
        """
        images, labels = self._folders(split)
        found = [path for path in sorted(images.rglob("*")) if path.suffix.lower() in ENDINGS]
        made = [Pair(path, labels / path.relative_to(images).with_name(self._label_name(path))) for path in found]
        if not made:
            got = {"folder": str(images), "images": 0}
            raise DataError(law(self.subject, f"images to {split} with", got, f"Images end in {', '.join(ENDINGS)}"))
        there = set(labels.rglob("*.png"))
        report([self._missing(pair) for pair in made if pair.label not in there])
        return tuple(made)

    def strays(self, split: SplitName) -> tuple[Path, ...]:
        """List the labels that belong to no image: it is perhaps the image that is missing."""
        labels, known = self._folders(split)[1], {pair.label for pair in self.pairs(split)}
        # What other tools convert lies beside what is published, and the other way round.
        converted = self.label_suffix.endswith(CONVERTED)
        every = (path for path in labels.rglob(f"*{self.label_suffix}.png") if path not in known)
        return tuple(sorted(path for path in every if path.stem.endswith(CONVERTED) == converted))

    def _folders(self, split: SplitName) -> tuple[Path, Path]:
        parts: dict[SplitName, str] = {"train": self.train, "val": self.val, "test": self.test}
        if split == "test":
            unseen(self.subject, parts)
        part = parts[split]
        need_folders(self.subject, self.root, (f"{self.images}/{part}", f"{self.labels}/{part}"))
        return self.root / self.images / part, self.root / self.labels / part

    def _label_name(self, image: Path) -> str:
        return image.stem.removesuffix(self.image_suffix) + self.label_suffix + ".png"

    def _missing(self, pair: Pair) -> str:
        got = {"missing": str(pair.label)}
        return law(self.subject, "a label for each image", got, f"It belongs to {pair.image}")


class Files(Protocol):
    """Where the files of a data set lie, however it says so."""

    @property
    def subject(self) -> str: ...

    @property
    def root(self) -> Path: ...

    def pairs(self, split: SplitName) -> tuple[Pair, ...]: ...

    def strays(self, split: SplitName) -> tuple[Path, ...]: ...


def need_folders(subject: str, root: Path, needed: Sequence[str]) -> None:
    """Raise DataError unless a root holds the folders that are needed, and say what it holds instead."""
    missing = [folder for folder in needed if not (root / folder).is_dir()]
    if not missing:
        return
    there = sorted(root.iterdir()) if root.is_dir() else []
    inside = [path for path in there if all((path / folder).is_dir() for folder in needed)]
    holds = "Point root at the folder that holds " + " and ".join(dict.fromkeys(f.split("/")[0] for f in needed))
    got = {"root": str(root), "found": [path.name for path in there[:10]] if root.is_dir() else "no such folder"}
    remedy = f"{holds}: {inside[0]}" if inside else holds
    raise DataError(law(subject, f"{', '.join(missing)} below its root", got, remedy))


def files_fingerprint(files: Files, version: int) -> str:
    """Hash the names below the root and the sizes of all files in use, and the version of the code that reads them."""
    digest = hashlib.sha256(f"{version}\n".encode())
    for split in SPLITS:
        for pair in files.pairs(split):
            for path in (pair.image, pair.label):
                digest.update(f"{path.relative_to(files.root).as_posix()}\t{path.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def stamp_of(paths: Iterable[Path]) -> str:
    """Hash where files lie, how large they are and when they were written."""
    digest = hashlib.sha256()
    for path in paths:
        about = path.stat()
        digest.update(f"{path}\t{about.st_size}\t{about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


class FileSplit:
    """One split of a data set on disk: each sample is decoded when it is asked for."""

    def __init__(self, files: Files, split: SplitName, coding: Coding, *, channels: int, frame: Frame) -> None:
        self._files, self._split = files, split
        self._subject, self._root, self._pairs = files.subject, files.root, files.pairs(split)
        self._coding, self._channels, self._frame = coding, channels, frame

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._frame.fit(*self.original(index))

    def name(self, index: int) -> str:
        return self._pairs[index].image.relative_to(self._root).as_posix()

    def stamp(self) -> str:
        return stamp_of(path for pair in self._pairs for path in (pair.image, pair.label))

    def strays(self) -> list[str]:
        """Name the labels that belong to no image."""
        return [path.relative_to(self._root).as_posix() for path in self._files.strays(self._split)]

    def original(self, index: int) -> tuple[Tensor, Tensor]:
        pair = self._pairs[index]
        image = read_image(pair.image, self._subject, channels=self._channels)
        label = self.label(index)
        need_same_size(self._subject, image, label, pair.label)
        return image, label

    def label(self, index: int) -> Tensor:
        return read_label(self._pairs[index].label, self._subject, self._coding)
