"""Images and labels in folders, one sub-folder a split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from blocks.errors import DataError, law
from blocks.options import Range
from runners.data.contract import DataInfo, SplitName, palette
from runners.data.decode import Coding
from runners.data.files import FileSplit, Layout, files_fingerprint
from runners.data.frame import Frame, Side

MOST = 254
"""Classes at most: labels are 8-bit, 255 ignores, 254 marks mistakes. [count]"""

_SUBJECT = "Data set folder"


class Folder:
    """`IMAGES/{TRAIN,VAL}/**/NAME.*` with `LABELS/{TRAIN,VAL}/**/NAME.png`.

    Args:
        root: the folder that holds both.
        size: height and width that samples are stretched to; with `short`, of a training crop. [px]
        short: samples keep their proportions, and this is their shorter side; null stretches them. [px]
        long: their longer side at most; null is no limit. [px]
        classes: how many, or their names.
        channels: 1 (grey), 3 (RGB) or 4 (RGB and one more). [count]
        ids: the value of each class in the label files; by default 0, 1, 2, ...
        colours: instead of ids, the (red, green, blue) of each class.
        ignore: values in the label files that neither train nor count.
        unlisted: what to do with any other value.
        images: sub-folder of images.
        labels: sub-folder of labels.
        train: sub-folder of both for training.
        val: sub-folder of both for evaluation.
        image_suffix: what follows the shared name in an image's file name, e.g. `_leftImg8bit`.
        label_suffix: the same for labels, e.g. `_gtFine_labelIds`.

    Raises:
        DataError: the options contradict each other.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        root: str,
        *,
        size: Annotated[tuple[int, int], Range(16, 16_384)] = (512, 512),
        short: Side = None,
        long: Side = None,
        classes: Annotated[int | tuple[str, ...], Range(2, MOST)] = 2,
        channels: Literal[1, 3, 4] = 3,
        ids: Annotated[tuple[int, ...], Range(0, 65_535)] = (),
        colours: tuple[tuple[int, int, int], ...] = (),
        ignore: Annotated[tuple[int, ...], Range(0, 65_535)] = (255,),
        unlisted: Literal["error", "ignore"] = "error",
        images: str = "images",
        labels: str = "labels",
        train: str = "train",
        val: str = "val",
        image_suffix: str = "",
        label_suffix: str = "",
    ) -> None:
        names = class_names(classes)
        self._coding = coding_of(_SUBJECT, names, ids, colours, ignore, strict=unlisted == "error")
        self._frame = Frame(_SUBJECT, size, short, long)
        self.info = DataInfo(names, colours or palette(len(names)), channels, size, varies=self._frame.varies)
        self._layout = Layout(
            subject=_SUBJECT,
            root=Path(root).expanduser(),
            images=images,
            labels=labels,
            train=train,
            val=val,
            image_suffix=image_suffix,
            label_suffix=label_suffix,
        )

    def fingerprint(self) -> str:
        return files_fingerprint(self._layout, self.version)

    def split(self, name: SplitName) -> FileSplit:
        return FileSplit(self._layout, name, self._coding, channels=self.info.image_channels, frame=self._frame)


def class_names(classes: int | tuple[str, ...]) -> tuple[str, ...]:
    """Name classes that are but counted."""
    return tuple(f"class {i}" for i in range(classes)) if isinstance(classes, int) else classes


def coding_of(
    subject: str,
    names: tuple[str, ...],
    ids: tuple[int, ...],
    colours: tuple[tuple[int, int, int], ...],
    ignore: tuple[int, ...],
    *,
    strict: bool,
) -> Coding:
    """Make a coding of what a person wrote: without ids, classes count from 0 and leave out what is ignored.

    Raises:
        DataError: the options contradict each other.
    """
    _check(subject, names, ids, colours, ignore)
    counted = tuple(i for i in range(MOST + len(ignore)) if i not in ignore)[: len(names)]
    return Coding(colours or ids or counted, ignore=ignore, strict=strict)


def _check(
    subject: str,
    names: tuple[str, ...],
    ids: tuple[int, ...],
    colours: tuple[tuple[int, int, int], ...],
    ignore: tuple[int, ...],
) -> None:
    """Raise DataError unless each class has one name and one value of its own."""
    count = len(names)
    if not 2 <= count <= MOST or len(set(names)) < count:
        needs = f"2 to {MOST} classes with names of their own"
        raise DataError(law(subject, needs, {"classes": names}, "Change classes"))
    if ids and colours:
        raise DataError(law(subject, "ids or colours, not both", {"ids": ids, "colours": colours}, "Drop one"))
    for option, values in (("ids", ids), ("colours", colours)):
        if values and not len(values) == len(set(values)) == count:
            got = {"classes": count, option: values}
            raise DataError(law(f"{subject}.{option}", "one value of its own for each class", got, "Match them"))
    if any(not 0 <= v <= 255 for colour in colours for v in colour):
        raise DataError(law(f"{subject}.colours", "values from 0 to 255", {"colours": colours}, "Change the value"))
    if set(ids) & set(ignore):
        both = sorted(set(ids) & set(ignore))
        raise DataError(law(subject, "ids that are not ignored", {"both": both}, "Drop them from one"))
