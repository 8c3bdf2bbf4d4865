"""What every data set promises, and how it names and colours its classes."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

from torch import Tensor

from blocks.errors import DataError, law

IGNORE = 255
"""The label of pixels that neither train nor count."""

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val")
"""What a search needs: it trains on the one and chooses by the other. Not every data set has more."""

Colour = tuple[int, int, int]

_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is published of a data set and how it is usually used; its files are held to it before a sweep.

    Args:
        train: images to train on. [count]
        val: images to evaluate on. [count]
        crop: the usual height and width of a training crop. [px]
        test: the usual length of the shorter side at evaluation, and the most of the longer one; proportions
            are kept. [px]
    """

    train: int
    val: int
    crop: tuple[int, int]
    test: tuple[int, int]


@dataclass(frozen=True, slots=True)
class DataInfo:
    """What is known of a data set from its options alone, before any file is touched.

    Args:
        names: of the classes, in the order of their ids.
        palette: a colour for each class, to draw it with. [0 to 255]
        image_channels: 1 (grey), 3 (RGB) or 4 (RGB and one more). [count]
        size: height and width of every sample; where they vary, of a training crop. [px]
        facts: what is published of it, if it is.
        varies: whether samples may have any size; `size` is then that of a training crop.
    """

    names: tuple[str, ...]
    palette: tuple[Colour, ...]
    image_channels: int
    size: tuple[int, int]
    facts: Facts | None = None
    varies: bool = False

    @property
    def classes(self) -> int:
        """How many classes are told apart. [count]"""
        return len(self.names)


class Split(Protocol):
    """The samples of one split, in a fixed order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]:
        """Return image and label, both uint8, at `info.size`, or at a size of their own where `info.varies`.

        Shape:
            image: (image_channels, H, W)
            label: (H, W), ids from 0 to classes - 1, or 255 = ignore
        """


@runtime_checkable
class FromFiles(Protocol):
    """What the splits of data sets on disk offer besides."""

    def name(self, index: int, /) -> str:
        """What a person would look for: the image's file below the root, or its number in a table."""

    def original(self, index: int, /) -> tuple[Tensor, Tensor]:
        """Decode a sample at the size that it has on disk."""

    def label(self, index: int, /) -> Tensor:
        """Decode its label alone, at the size that it has on disk."""


@runtime_checkable
class Stamped(Protocol):
    """What the splits offer whose decoded samples may be kept on disk for other processes."""

    def stamp(self) -> str:
        """Digest of the names, sizes and times of their files: another one when any of them was written again."""


class UnreadableError(DataError):
    """A sample's file cannot be read. While such samples are few, training goes on without them."""


@runtime_checkable
class DataSet(Protocol):
    """Constructor parameters before the `*` say where the data lie; keyword-only ones change what it yields."""

    @property
    def info(self) -> DataInfo:
        """Known from the options alone."""

    def fingerprint(self) -> str:
        """16 hexadecimal digits of the files' names and sizes, wherever they lie."""

    def split(self, name: SplitName, /) -> Split:
        """Open a split.

        Raises:
            DataError: files are missing or do not match, or there is no such split.
        """


def opened(data: DataSet, name: SplitName, subject: str) -> Split:
    """Open a split that a data set need not have.

    Args:
        data: whose.
        name: of the split.
        subject: who is speaking in an error, e.g. `Data set camvid`.

    Raises:
        DataError: it does not have it; the message names those that it has.
    """
    try:
        return data.split(name)
    except DataError as error:
        others = [other for other in get_args(SplitName) if other != name and _has(data, other)]
        if not others:
            raise
        needs = law(subject, f"the split {name}", {"splits": others}, "Choose one of these, or add it")
        raise DataError(f"{needs} {error}") from error


def unseen(subject: str, splits: Mapping[SplitName, str]) -> None:
    """Raise DataError where what is called `test` is what a search trains on or chooses by."""
    if splits["test"] in (splits["train"], splits["val"]):
        got: dict[str, object] = {str(name): where for name, where in splits.items()}
        raise DataError(law(subject, "a split `test` that no search has seen", got, "Give it samples of its own"))


def _has(data: DataSet, name: SplitName) -> bool:
    try:
        return len(data.split(name)) > 0
    except DataError:
        return False


def report(problems: Sequence[str]) -> None:
    """Raise one DataError for all problems, spelling out the first few.

    Raises:
        DataError: there is at least one problem.
    """
    if problems:
        more = len(problems) - _SHOWN
        shown = [*problems[:_SHOWN], *([f"... and {more} more."] if more > 0 else [])]
        raise DataError("\n".join(shown), problems)


def names_of(text: str) -> tuple[str, ...]:
    """Read names that are written one after the other: `wall, chest of drawers, sea`."""
    return tuple(name.strip() for name in text.replace("\n", " ").split(","))


def colours_of(text: str) -> tuple[Colour, ...]:
    """Read colours that are written as on the web, apart from the mark: `787878 b47878`."""
    return tuple((int(c[0:2], 16), int(c[2:4], 16), int(c[4:6], 16)) for c in text.split())


def palette(classes: int) -> tuple[Colour, ...]:
    """Colours that neighbouring ids do not share: hues in steps of the golden ratio, three levels of brightness."""
    hues = [(i * 0.618034) % 1.0 for i in range(classes)]
    levels = [(0.95, 0.7, 0.5)[i % 3] for i in range(classes)]
    rgb = [colorsys.hsv_to_rgb(h, 0.75, v) for h, v in zip(hues, levels, strict=True)]
    return tuple((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in rgb)
