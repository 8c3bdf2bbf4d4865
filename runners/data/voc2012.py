"""Pascal VOC 2012, with or without the augmented training set: 20 classes and what is around them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from blocks.options import Range
from runners.data.contract import DataInfo, Facts, SplitName, colours_of, names_of
from runners.data.decode import Coding
from runners.data.files import FileSplit, files_fingerprint
from runners.data.frame import Frame, Side
from runners.data.listed import Listed

_NAMES = names_of("""
background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, motorbike,
person, pottedplant, sheep, sofa, train, tvmonitor
""")
_PALETTE = colours_of("""
000000 800000 008000 808000 000080 800080 008080 808080 400000 c00000 408000 c08000 400080 c00080 408080 c08080
004000 804000 00c000 80c000 004080
""")
_LISTS = "ImageSets/Segmentation"
# What the usual tool boxes call their lists of 10582 names; the last is added to the published one.
_AUGMENTED = (("trainaug.txt",), ("train_aug.txt",), ("train.txt", "aug.txt"))


class VOC2012:
    """`JPEGImages/NAME.jpg`, `SegmentationClass/NAME.png`, and names in `ImageSets/Segmentation/{train,val}.txt`.

    The augmented training set (Hariharan et al., ICCV 2011) adds `SegmentationClassAug/NAME.png` and a list of names,
    `trainaug.txt`, `train_aug.txt`, or `aug.txt` besides `train.txt`. Images that have a label in both folders keep the
    published one.

    Args:
        root: the folder that holds `JPEGImages`, usually `VOCdevkit/VOC2012`.
        size: height and width that samples are stretched to; with `short`, of a training crop. [px]
        short: samples keep their proportions, and this is their shorter side; null stretches them. [px]
        long: their longer side at most; null is no limit. [px]
        augmented: train on 10582 images instead of 1464.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        root: str,
        *,
        size: Annotated[tuple[int, int], Range(16, 4096)] = (512, 512),
        short: Side = None,
        long: Side = None,
        augmented: bool = False,
    ) -> None:
        facts = Facts(train=10_582 if augmented else 1_464, val=1_449, crop=(512, 512), test=(512, 2048))
        self._frame = Frame("Data set voc2012", size, short, long)
        self.info = DataInfo(_NAMES, _PALETTE, 3, size, facts, self._frame.varies)
        self._root, self._augmented = Path(root).expanduser(), augmented
        self._coding = Coding(tuple(range(len(_NAMES))))

    def fingerprint(self) -> str:
        return files_fingerprint(self._files(), self.version)

    def split(self, name: SplitName) -> FileSplit:
        return FileSplit(self._files(), name, self._coding, channels=3, frame=self._frame)

    def _files(self) -> Listed:
        present = [names for names in _AUGMENTED if all((self._root / _LISTS / name).is_file() for name in names)]
        train = next(iter(present), _AUGMENTED[0]) if self._augmented else ("train.txt",)
        return Listed(
            subject=self._frame.subject,
            root=self._root,
            train=tuple(f"{_LISTS}/{name}" for name in train),
            val=(f"{_LISTS}/val.txt",),
            images="JPEGImages",
            labels=("SegmentationClass", "SegmentationClassAug") if self._augmented else ("SegmentationClass",),
        )
