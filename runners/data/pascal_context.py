"""Pascal-Context: the images of Pascal VOC 2010 with every pixel labelled, in 59 classes or 60."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from blocks.options import Range
from runners.data.ade20k import PALETTE
from runners.data.contract import DataInfo, Facts, Split, SplitName, names_of
from runners.data.decode import Coding
from runners.data.detail import DetailSplit, detail_fingerprint
from runners.data.files import FileSplit, files_fingerprint
from runners.data.frame import Frame, Side
from runners.data.listed import Listed

_NAMES = names_of("""
background, aeroplane, bag, bed, bedclothes, bench, bicycle, bird, boat, book, bottle, building, bus, cabinet, car, cat,
ceiling, chair, cloth, computer, cow, cup, curtain, dog, door, fence, floor, flower, food, grass, ground, horse,
keyboard, light, motorbike, mountain, mouse, person, plate, platform, pottedplant, road, rock, sheep, shelves, sidewalk,
sign, sky, snow, sofa, table, track, train, tree, truck, tvmonitor, wall, water, window, wood
""")
# What the same classes are called among the 459 that were drawn.
_DRAWN = (
    *(0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158),
    *(159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366),
    *(368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
)
_SUBJECT, _PUBLISHED = "Data set pascal_context", "trainval_merged.json"


class PascalContext:
    """4998 images to train on and 5105 to evaluate on: `JPEGImages/NAME.jpg` of VOC 2010.

    Labels are `SegmentationClassContext/NAME.png` with names in `ImageSets/SegmentationContext/{train,val}.txt`, as
    other tools convert them. Where there are none, they are taken from the published `trainval_merged.json`, which is
    large: each process that loads it needs a while and a few gigabytes.

    Args:
        root: the folder that holds `JPEGImages`, usually `VOCdevkit/VOC2010`.
        size: height and width that samples are stretched to; with `short`, of a training crop. [px]
        short: samples keep their proportions, and this is their shorter side; null stretches them. [px]
        long: their longer side at most; null is no limit. [px]
        classes: 59, or 60 to tell everything else apart as background. [count]
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        root: str,
        *,
        size: Annotated[tuple[int, int], Range(16, 4096)] = (480, 480),
        short: Side = None,
        long: Side = None,
        classes: Literal[59, 60] = 59,
    ) -> None:
        first = 60 - classes
        facts = Facts(train=4_998, val=5_105, crop=(480, 480), test=(520, 520))
        # The usual tool boxes lend these classes the first colours of ADE20K.
        self._frame = Frame(_SUBJECT, size, short, long)
        self.info = DataInfo(_NAMES[first:], PALETTE[first:60], 3, size, facts, self._frame.varies)
        self._root = Path(root).expanduser()
        self._background = range(first)

    def fingerprint(self) -> str:
        if self._published():
            return detail_fingerprint(self._root / _PUBLISHED, self._root / "JPEGImages", _SUBJECT, self.version)
        return files_fingerprint(self._converted(), self.version)

    def split(self, name: SplitName) -> Split:
        first, frame, ignore = len(self._background), self._frame, (*self._background, 255)
        if self._published():
            drawn, path, images = Coding(_DRAWN[first:], ignore), self._root / _PUBLISHED, self._root / "JPEGImages"
            return DetailSplit(path, name, drawn, images=images, frame=frame, subject=_SUBJECT)
        return FileSplit(self._converted(), name, Coding(tuple(range(first, 60)), ignore), channels=3, frame=frame)

    def _published(self) -> bool:
        converted = self._root / "SegmentationClassContext"
        return (self._root / _PUBLISHED).is_file() and not converted.is_dir()

    def _converted(self) -> Listed:
        return Listed(
            subject=_SUBJECT,
            root=self._root,
            train=("ImageSets/SegmentationContext/train.txt",),
            val=("ImageSets/SegmentationContext/val.txt",),
            images="JPEGImages",
            labels=("SegmentationClassContext",),
        )
