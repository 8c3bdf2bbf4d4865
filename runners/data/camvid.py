"""CamVid, in the layout of the SegNet tutorial."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from blocks.options import Range
from runners.data.contract import Colour, DataInfo, Facts, SplitName
from runners.data.decode import Coding
from runners.data.files import FileSplit, Layout, files_fingerprint
from runners.data.frame import Frame, Side

_CLASSES: dict[str, Colour] = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign symbol": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
_UNLABELLED = 11


class CamVid:
    """Driving scenes, 367 to train on and 101 to evaluate on: `images/SPLIT/NAME.jpg`, `labels/SPLIT/NAME.png`.

    Args:
        root: the folder that holds `images` and `labels`.
        size: height and width that samples are stretched to; with `short`, of a training crop. [px]
        short: samples keep their proportions, and this is their shorter side; null stretches them. [px]
        long: their longer side at most; null is no limit. [px]
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        root: str,
        *,
        size: Annotated[tuple[int, int], Range(16, 4096)] = (360, 480),
        short: Side = None,
        long: Side = None,
    ) -> None:
        facts = Facts(train=367, val=101, crop=(360, 480), test=(360, 480))
        self._frame = Frame("Data set camvid", size, short, long)
        self.info = DataInfo(tuple(_CLASSES), tuple(_CLASSES.values()), 3, size, facts, self._frame.varies)
        self._layout = Layout(subject=self._frame.subject, root=Path(root).expanduser())
        self._coding = Coding(tuple(range(len(_CLASSES))), ignore=(_UNLABELLED, 255))

    def fingerprint(self) -> str:
        return files_fingerprint(self._layout, self.version)

    def split(self, name: SplitName) -> FileSplit:
        return FileSplit(self._layout, name, self._coding, channels=3, frame=self._frame)
