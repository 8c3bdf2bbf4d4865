"""COCO-Stuff, of ten thousand or of all images: 80 kinds of things and 91 of stuff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from blocks.options import Range
from runners.data.contract import DataInfo, Facts, SplitName, colours_of, names_of
from runners.data.decode import Coding
from runners.data.files import CONVERTED, FileSplit, Layout, files_fingerprint
from runners.data.frame import Frame, Side
from runners.data.listed import Listed

_NAMES = names_of("""
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, parking
meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag, tie,
suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis
racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot
dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier,
toothbrush, banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other,
ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble,
floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel,
ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper,
pavement, pillow, plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug,
salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table,
tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone,
wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other, wood
""")
_PALETTE = colours_of("""
00c040 00c040 004060 80c0c0 004040 00c0e0 00c0c0 80c040 00c060 80c040 8020c0 0000e0 000040 00a0c0 800060 8000c0
0020c0 8080e0 0000c0 80a0c0 808000 800020 802000 800080 408020 00a000 000000 c080a0 002000 008080 4080a0 80a000
008000 c08020 806080 000080 400020 00e080 800000 c000a0 006080 808080 4000a0 80e080 808040 c00020 806000 8000c0
008020 40e000 000040 8080a0 406000 0080c0 0080a0 c0e000 008040 808020 c02080 0040c0 000020 40a080 804040 8000a0
402080 80c0c0 0000a0 c0a080 80c000 800060 c02000 804080 408060 40a000 004000 c080e0 402000 00c080 4080e0 c0a000
00c000 c08060 c06080 004080 400060 40e080 804000 c000e0 406080 80c080 4000e0 c0e080 80c040 c00060 c06000 8040c0
008060 00e000 404040 8080e0 006000 40c0c0 0080e0 80e000 40c040 808060 802080 4000c0 004060 00a080 c00040 8040e0
002080 c080c0 0040e0 80a080 c08000 804020 802040 c00080 40c020 00a040 400000 c0c0a0 002040 408080 40c0a0 80a040
408000 c0c020 8060c0 400080 404020 00e0c0 c00000 c040a0 0060c0 c08080 4040a0 80e0c0 c08040 c04020 806040 c000c0
00c020 40e040 400040 80c0a0 406040 4080c0 00c0a0 c0e040 408040 80c020 c020c0 4040c0 004020 40a0c0 c04040 8040a0
4020c0 c0c0c0 0040a0 c0a0c0 c0c000 804060 c02040 c04080 40c060 40a040 404000
""")
# Of the 182 published classes these were never drawn: street sign, hat, shoe, eye glasses, plate, mirror, window, desk,
# door, blender, hair brush. The others keep their order.
_ABSENT = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
_DRAWN = tuple(number for number in range(1, 183) if number not in _ABSENT)
_CONVERTED = f"_{CONVERTED}"


class CocoStuff10k:
    """9000 images to train on and 1000 to evaluate on, with labels that were drawn in version 1.1.

    As published: `images/NAME.jpg`, `annotations/NAME.mat`, and names in `imageLists/{train,test}.txt`. As other tools
    convert it: `images/{train2014,test2014}/NAME.jpg`, `annotations/{train2014,test2014}/NAME_labelTrainIds.png`.

    Args:
        root: the folder that holds `images` and `annotations`.
        size: height and width that samples are stretched to; with `short`, of a training crop. [px]
        short: samples keep their proportions, and this is their shorter side; null stretches them. [px]
        long: their longer side at most; null is no limit. [px]
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        root: str,
        *,
        size: Annotated[tuple[int, int], Range(16, 4096)] = (512, 512),
        short: Side = None,
        long: Side = None,
    ) -> None:
        facts = Facts(train=9_000, val=1_000, crop=(512, 512), test=(512, 2048))
        self._frame = Frame("Data set coco_stuff10k", size, short, long)
        self.info = DataInfo(_NAMES, _PALETTE, 3, size, facts, self._frame.varies)
        self._root = Path(root).expanduser()

    def fingerprint(self) -> str:
        return files_fingerprint(self._files()[0], self.version)

    def split(self, name: SplitName) -> FileSplit:
        files, coding = self._files()
        return FileSplit(files, name, coding, channels=3, frame=self._frame)

    def _files(self) -> tuple[Listed | Layout, Coding]:
        """Published files come first, so that converting them besides changes no fingerprint."""
        subject, labels = self._frame.subject, "annotations"
        if (self._root / "images/train2014").is_dir() and not (self._root / "imageLists").is_dir():
            converted = Layout(
                subject=subject,
                root=self._root,
                labels=labels,
                train="train2014",
                val="test2014",
                label_suffix=_CONVERTED,
            )
            return converted, Coding(tuple(range(1, len(_NAMES) + 1)), ignore=(0, 255))
        published = Listed(
            subject=subject,
            root=self._root,
            train=("imageLists/train.txt",),
            val=("imageLists/test.txt",),
            images="images",
            labels=(labels,),
            ending=".mat",
        )
        return published, Coding(_DRAWN, ignore=(0, *_ABSENT), variable="S")


class CocoStuff164k:
    """118287 images to train on and 5000 to evaluate on: `images/{train2017,val2017}/NAME.jpg`.

    Labels are the published `annotations/{train2017,val2017}/NAME.png` (`stuffthingmaps`). Where there are none, they
    are the `NAME_labelTrainIds.png` that other tools convert them to, which say the same.

    Args:
        root: the folder that holds `images` and `annotations`.
        size: height and width that samples are stretched to; with `short`, of a training crop. [px]
        short: samples keep their proportions, and this is their shorter side; null stretches them. [px]
        long: their longer side at most; null is no limit. [px]
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        root: str,
        *,
        size: Annotated[tuple[int, int], Range(16, 4096)] = (512, 512),
        short: Side = None,
        long: Side = None,
    ) -> None:
        facts = Facts(train=118_287, val=5_000, crop=(512, 512), test=(512, 2048))
        self._frame = Frame("Data set coco_stuff164k", size, short, long)
        self.info = DataInfo(_NAMES, _PALETTE, 3, size, facts, self._frame.varies)
        self._root = Path(root).expanduser()

    def fingerprint(self) -> str:
        return files_fingerprint(self._layout(), self.version)

    def split(self, name: SplitName) -> FileSplit:
        layout = self._layout()
        # One less than in the ten thousand: here 255 is what is unlabelled.
        drawn = Coding(tuple(number - 1 for number in _DRAWN), ignore=(*(number - 1 for number in _ABSENT), 255))
        coding = Coding(tuple(range(len(_NAMES)))) if layout.label_suffix == _CONVERTED else drawn
        return FileSplit(layout, name, coding, channels=3, frame=self._frame)

    def _layout(self) -> Layout:
        labels = [path.stem.endswith(_CONVERTED) for path in (self._root / "annotations/train2017").glob("*.png")]
        return Layout(
            subject=self._frame.subject,
            root=self._root,
            labels="annotations",
            train="train2017",
            val="val2017",
            label_suffix=_CONVERTED if labels and all(labels) else "",
        )
