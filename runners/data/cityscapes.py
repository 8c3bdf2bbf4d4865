"""Cityscapes with its fine labels: 19 of 34 classes are told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from blocks.options import Range
from runners.data.contract import Colour, DataInfo, Facts, SplitName
from runners.data.decode import Coding
from runners.data.files import CONVERTED, FileSplit, Layout, files_fingerprint
from runners.data.frame import Frame, Side

_CLASSES: dict[str, tuple[int, Colour]] = {
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
_IDS = tuple(number for number, _ in _CLASSES.values())
# 255 is what the licence plate's -1 becomes in eight bits.
_VOID = (*(number for number in range(34) if number not in _IDS), 255)
_PUBLISHED, _CONVERTED = "_gtFine_labelIds", f"_gtFine_{CONVERTED}"


class Cityscapes:
    """Streets of fifty cities: `leftImg8bit/{train,val}/CITY/*_leftImg8bit.png`, `gtFine/{train,val}/CITY/*.png`.

    Labels are the `*_gtFine_labelIds.png` that are published. Where there are none, they are the
    `*_gtFine_labelTrainIds.png` that other tools convert them to, which say the same.

    Args:
        root: the folder that holds `leftImg8bit` and `gtFine`.
        size: height and width that samples are stretched to; with `short`, of a training crop. [px]
        short: samples keep their proportions, and this is their shorter side; null stretches them. [px]
        long: their longer side at most; null is no limit. [px]
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        root: str,
        *,
        size: Annotated[tuple[int, int], Range(16, 4096)] = (512, 1024),
        short: Side = None,
        long: Side = None,
    ) -> None:
        facts = Facts(train=2_975, val=500, crop=(512, 1024), test=(1024, 2048))
        self._frame, colours = Frame("Data set cityscapes", size, short, long), tuple(c for _, c in _CLASSES.values())
        self.info = DataInfo(tuple(_CLASSES), colours, 3, size, facts, self._frame.varies)
        self._root = Path(root).expanduser()

    def fingerprint(self) -> str:
        return files_fingerprint(self._layout(), self.version)

    def split(self, name: SplitName) -> FileSplit:
        layout = self._layout()
        train_ids = Coding(tuple(range(len(_IDS))))
        coding = train_ids if layout.label_suffix == _CONVERTED else Coding(_IDS, ignore=_VOID)
        return FileSplit(layout, name, coding, channels=3, frame=self._frame)

    def _layout(self) -> Layout:
        """Published labels come first, so that converting them besides changes no fingerprint."""
        published, converted = (
            any(self._root.glob(f"gtFine/train/*/*{suffix}.png")) for suffix in (_PUBLISHED, _CONVERTED)
        )
        return Layout(
            subject=self._frame.subject,
            root=self._root,
            images="leftImg8bit",
            labels="gtFine",
            image_suffix="_leftImg8bit",
            label_suffix=_CONVERTED if converted and not published else _PUBLISHED,
        )
