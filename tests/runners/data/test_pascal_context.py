import json

import numpy as np
import pytest
import torch

from blocks.architecture import Component
from blocks.errors import DataError
from runners.data import dataset
from runners.data.detail import mask

SIZE = (24, 32)
LISTS = "ImageSets/SegmentationContext"
DISC = "d04d00000000S15gN2N2N2N2O0000000000000001N2N2N2Nj5"


def context(root, **options):
    return dataset(Component.of("pascal_context", {"size": SIZE} | options), {"root": str(root)})


def encoded(region):
    """Run lengths along columns, the first of them outside, as COCO writes them in text."""
    flat = region.T.flatten()
    ends = np.flatnonzero(np.diff(flat.astype(int))) + 1
    runs = np.diff([0, *ends, flat.size]).tolist()
    runs = [0, *runs] if flat[0] else runs
    text = ""
    for place, run in enumerate(runs):
        rest = run - runs[place - 2] if place > 2 else run
        while True:
            low, rest = rest & 31, rest >> 5
            done = rest == (-1 if low & 16 else 0)
            text += chr(48 + low + (0 if done else 32))
            if done:
                break
    return text


@pytest.fixture
def converted(tmp_path, draw):
    (tmp_path / LISTS).mkdir(parents=True)
    for split, name in (("train", "2008_000002"), ("val", "2008_000003")):
        draw(tmp_path, f"JPEGImages/{name}.jpg", f"SegmentationClassContext/{name}.png", (0, 1, 2, 59))
        (tmp_path / LISTS / f"{split}.txt").write_text(f"{name}\n")
    return tmp_path


@pytest.fixture
def published(tmp_path, draw):
    """Sky over grass with a person before both; 1 px is nothing."""
    person, sky = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    person[6:20, 10:14] = sky[:12] = True
    grass = ~sky
    grass[23, 31] = False
    regions = [(360, sky), (284, np.zeros(SIZE, bool)), (187, grass), (284, person)]
    found = {"images": [], "annos_segmentation": []}
    for number, (phase, name) in enumerate((("train", "2008_000002"), ("val", "2008_000003"))):
        draw(tmp_path, f"JPEGImages/{name}.jpg")
        size = {"height": SIZE[0], "width": SIZE[1]}
        found["images"].append({"image_id": number, "file_name": f"{name}.jpg", "phase": phase, **size})
        for category, region in regions:
            drawn = {"size": list(SIZE), "counts": encoded(region)}
            found["annos_segmentation"].append({"image_id": number, "category_id": category, "segmentation": drawn})
    (tmp_path / "trainval_merged.json").write_text(json.dumps(found))
    return tmp_path


def test_59_classes_leave_the_background_out(converted):
    for split in ("train", "val"):
        assert context(converted).split(split)[0][1][:4, 0].tolist() == [255, 0, 1, 58]
        assert context(converted, classes=60).split(split)[0][1][:4, 0].tolist() == [0, 1, 2, 59]


def test_the_published_annotations_are_painted(published):
    data = context(published)
    expected = torch.full(SIZE, data.info.names.index("grass"), dtype=torch.uint8)
    expected[:12] = data.info.names.index("sky")
    expected[6:20, 10:14] = data.info.names.index("person")
    expected[23, 31] = 255
    for split in ("train", "val"):
        assert len(data.split(split)) == 1
        assert torch.equal(data.split(split)[0][1], expected)
    assert len(data.fingerprint()) == 16
    everything = context(published, classes=60)
    assert everything.info.names[everything.split("train")[0][1][23, 31]] == "background"


def test_drawn_regions_keep_their_proportions_and_give_their_label_alone(published):
    split = context(published, size=(16, 16), short=48, long=60).split("val")
    image, label = split[0]
    assert (image.shape, label.shape) == ((3, 45, 60), (45, 60))
    assert torch.equal(split.label(0), context(published).split("val")[0][1])


def test_converted_labels_are_read_rather_than_published_ones(published, converted):
    assert context(published).split("train")[0][1][:4, 0].tolist() == [255, 0, 1, 58]


def test_a_region_as_the_public_tool_encodes_it():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    disc = (y - 11) ** 2 + (x - 15) ** 2 < 81
    disc[20:, :5] = True
    assert np.array_equal(mask(DISC, SIZE), disc)
    assert encoded(disc) == DISC


@pytest.mark.parametrize(
    ("old", "new", "needs"),
    [
        (f'"height": {SIZE[0]}', '"height": 99', r"regions as large as their image.*2008_000002"),
        ('"category_id": 360', '"category_id": 361', r"found=\[361\].*2008_000002"),
        (
            '"annos_segmentation"',
            '"annos_joints"',
            r"the annotations as published.*trainval_merged.*annos_segmentation",
        ),
        ("2008_000002.jpg", "2008_000004.jpg", r"an image for each annotation.*'2008_000004\.jpg'"),
        ('"phase": "train"', '"phase": "val"', r"images to train with.*trainval_merged"),
    ],
)
def test_wrong_annotations_are_named(published, old, new, needs):
    path = published / "trainval_merged.json"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=needs):
        context(published).split("train")[0]


def test_a_missing_label_is_named(converted):
    (converted / "SegmentationClassContext/2008_000002.png").unlink()
    with pytest.raises(DataError, match=r"a label for each name.*'2008_000002\.png'"):
        context(converted).split("train")


def test_neither_published_nor_converted(tmp_path, draw):
    draw(tmp_path, "JPEGImages/2008_000002.jpg")
    with pytest.raises(DataError, match=r"SegmentationClassContext below its root.*found=\['JPEGImages'\]"):
        context(tmp_path).fingerprint()


def test_what_is_known_without_files(tmp_path):
    few, all_ = context(tmp_path / "nowhere").info, context(tmp_path / "nowhere", classes=60).info
    assert (few.classes, all_.classes) == (59, 60)
    assert few.names == all_.names[1:]
    assert few.palette == all_.palette[1:]
    assert (few.names[0], few.names[58], all_.names[0]) == ("aeroplane", "wood", "background")
