"""Samples that keep their proportions, in the layouts of several data sets."""

import pytest
import torch

from blocks.architecture import Component
from blocks.errors import DataError
from blocks.options import options_of, supplied
from runners.data import DATASETS, dataset
from runners.data.frame import Frame


@pytest.mark.parametrize(
    ("before", "short", "long", "after"),
    [
        ((512, 683), 512, 2048, (512, 683)),
        ((683, 512), 512, 2048, (683, 512)),
        ((1024, 2048), 512, None, (512, 1024)),
        ((256, 341), 512, 2048, (512, 682)),  # smaller ones grow, and halves are rounded up
        ((300, 3000), 512, 2048, (205, 2048)),  # the longer side is what binds
        ((3000, 300), 512, 2048, (2048, 205)),
        ((375, 500), 520, 520, (390, 520)),
        ((2, 5000), 16, 40, (1, 40)),  # never nothing
    ],
)
def test_the_shorter_side_unless_the_longer_one_binds(before, short, long, after):
    assert Frame("It", (64, 64), short, long).of(*before) == after


def test_without_a_shorter_side_everything_is_stretched():
    frame = Frame("It", (48, 64))
    assert not frame.varies
    assert {frame.of(h, w) for h, w in ((1, 1), (48, 64), (900, 30))} == {(48, 64)}


@pytest.mark.parametrize(("short", "long", "says"), [(None, 64, "a shorter side"), (64, 32, "at least the shorter")])
def test_a_longer_side_needs_a_shorter_one(short, long, says):
    with pytest.raises(DataError, match=says):
        Frame("It", (64, 64), short, long)


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"shapes"}))
def test_every_data_set_that_reads_files_keeps_proportions_if_asked(name):
    kind = DATASETS[name]
    assert {"short", "long"} <= set(options_of(kind))
    place = dict.fromkeys(supplied(kind), "unread")
    assert not dataset(Component.of(name), place).info.varies
    info = dataset(Component.of(name, {"size": (64, 96), "short": 72}), place).info
    assert info.varies
    assert info.size == (64, 96)
    with pytest.raises(DataError, match=rf"Data set {name}\.long"):
        dataset(Component.of(name, {"long": 64}), place)


LAYOUTS = {
    "folder": ({"classes": 3}, {}),
    "ade20k": ({}, {"image": "images/{}/{}.jpg", "label": "annotations/{}/{}.png", "first": 1}),
    "cityscapes": (
        {},
        {
            "image": "leftImg8bit/{0}/bonn/{1}_leftImg8bit.png",
            "label": "gtFine/{0}/bonn/{1}_gtFine_labelTrainIds.png",
        },
    ),
    "coco_stuff164k": ({}, {"image": "images/{}2017/{}.jpg", "label": "annotations/{}2017/{}_labelTrainIds.png"}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_samples_have_the_proportions_of_their_files(name, tmp_path, draw_varied):
    options, files = LAYOUTS[name]
    root = draw_varied(tmp_path, **files)
    if name == "ade20k":
        for kind in ("images", "annotations"):
            (root / kind / "train").rename(root / kind / "training")
            (root / kind / "val").rename(root / kind / "validation")
    made = dataset(Component.of(name, {"size": (32, 32), "short": 30, "long": 80} | options), {"root": str(root)})
    shapes = []
    for split in (made.split("train"), made.split("val")):
        for index in range(len(split)):
            (image, label), (pixels, truth) = split[index], split.original(index)
            assert (image.dtype, label.dtype) == (torch.uint8, torch.uint8)
            assert image.shape[1:] == label.shape
            assert torch.equal(split.label(index), truth)
            assert pixels.shape[1:] == truth.shape
            assert set(label.unique().tolist()) <= {0, 1, 2, 255}
            shapes.append((tuple(truth.shape), tuple(label.shape)))
    assert dict(shapes) == {
        (40, 60): (30, 45),
        (72, 48): (45, 30),
        (33, 95): (28, 80),
        (64, 64): (30, 30),
        (50, 41): (37, 30),
    }
    # The label goes with the image: red says which class it is.
    image, label = made.split("train")[0]
    for number in range(3):
        assert abs(float(image[0][label == number].float().mean()) - (20 + 100 * number)) < 15
