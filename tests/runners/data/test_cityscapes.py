import shutil

import pytest

from blocks.architecture import Component
from blocks.errors import DataError
from runners.data import dataset

PUBLISHED = "_gtFine_labelIds"
CONVERTED = "_gtFine_labelTrainIds"
# Rows of labelIds and the train ids that they are: unlabelled, ego vehicle, parking, road, sidewalk, train, bicycle, -1.
ROWS, TRAIN_IDS = (0, 1, 9, 7, 8, 31, 33, 255), (255, 255, 255, 0, 1, 16, 18, 255)


def cityscapes(root):
    return dataset(Component.of("cityscapes", {"size": (24, 32)}), {"root": str(root)})


def city(root, draw, suffix, rows):
    for split, name in (("train", "aachen/aachen_000000_000019"), ("val", "munster/munster_000000_000019")):
        image, label = f"leftImg8bit/{split}/{name}_leftImg8bit.png", f"gtFine/{split}/{name}{suffix}.png"
        draw(root, image, label, rows)
        draw(root, f"gtFine/{split}/{name}_gtFine_instanceIds.png")
    return root


@pytest.mark.parametrize(("suffix", "rows"), [(PUBLISHED, ROWS), (CONVERTED, TRAIN_IDS)])
def test_published_and_converted_labels_say_the_same(tmp_path, draw, suffix, rows):
    data = cityscapes(city(tmp_path, draw, suffix, rows))
    for split in ("train", "val"):
        assert len(data.split(split)) == 1
        image, label = data.split(split)[0]
        assert image.shape == (3, 24, 32)
        assert label[:8, 0].tolist() == list(TRAIN_IDS)


def test_conversion_changes_no_fingerprint(tmp_path, draw):
    published = cityscapes(city(tmp_path, draw, PUBLISHED, ROWS)).fingerprint()
    city(tmp_path, draw, CONVERTED, (3,))
    assert cityscapes(tmp_path).fingerprint() == published
    assert cityscapes(tmp_path).split("train")[0][1][3, 0] == 0


def test_converted_and_instance_labels_are_no_strays(tmp_path, draw):
    for suffix in (PUBLISHED, CONVERTED):
        city(tmp_path, draw, suffix, (0,))
    assert cityscapes(tmp_path).split("train").strays() == []
    (tmp_path / "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png").rename(
        tmp_path / "leftImg8bit/train/aachen/aachen_000001_000019_leftImg8bit.png"
    )
    draw(tmp_path, "x.png", f"gtFine/train/aachen/aachen_000001_000019{PUBLISHED}.png")
    assert cityscapes(tmp_path).split("train").strays() == [f"gtFine/train/aachen/aachen_000000_000019{PUBLISHED}.png"]


def test_what_is_known_without_files(tmp_path):
    info = dataset(Component("cityscapes"), {"root": str(tmp_path / "nowhere")}).info
    assert (info.classes, info.size, info.image_channels) == (19, (512, 1024), 3)
    assert (info.names[0], info.names[18], info.palette[18]) == ("road", "bicycle", (119, 11, 32))


def test_labels_that_are_neither_are_named(tmp_path, draw):
    city(tmp_path, draw, PUBLISHED, (7, 34))
    with pytest.raises(DataError, match=r"found=\[34\].*aachen_000000_000019_gtFine_labelIds\.png"):
        cityscapes(tmp_path).split("train")[0]


def test_coarse_labels_alone_are_not_enough(tmp_path, draw):
    city(tmp_path, draw, PUBLISHED, ROWS)
    (tmp_path / "gtFine").rename(tmp_path / "gtCoarse")
    with pytest.raises(DataError, match=r"gtFine/train below its root.*found=\['gtCoarse', 'leftImg8bit'\]"):
        cityscapes(tmp_path).split("train")


def test_a_missing_label_is_named(tmp_path, draw):
    city(tmp_path, draw, PUBLISHED, ROWS)
    shutil.rmtree(tmp_path / "gtFine/val/munster")
    with pytest.raises(DataError, match=r"missing='.*munster_000000_000019_gtFine_labelIds\.png'.*belongs to"):
        cityscapes(tmp_path).fingerprint()
