from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blocks.architecture import Component
from blocks.errors import BlockError, DataError
from runners.data import dataset

SIZE = (24, 32)


def folder(root: Path, **options):
    return dataset(Component.of("folder", {"size": SIZE, "classes": 3} | options), {"root": str(root)})


def write(root: Path, name: str, label: np.ndarray, *, mode: str = "RGB", split: str = "train", suffix=("", "")):
    bands = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, *bands), dtype=np.uint8)
    image = root / "images" / split / f"{name}{suffix[0]}.png"
    target = root / "labels" / split / f"{name}{suffix[1]}.png"
    for path in (image, target):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(image)
    Image.fromarray(label).save(target)
    return image, target


def ids(*rows: int) -> np.ndarray:
    """A label whose top half has the first value, and so on."""
    return np.repeat(np.array(rows, np.uint8), SIZE[0] // len(rows))[:, None].repeat(SIZE[1], 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        write(tmp_path, "a", ids(0, 1, 2, 255), split=split)
        write(tmp_path, "deep/b", ids(2, 1), split=split)
    return tmp_path


def test_ids_are_read_as_they_are(root):
    split = folder(root).split("train")
    assert len(split) == 2
    image, label = split[0]
    assert (image.dtype, label.dtype, image.shape) == (torch.uint8, torch.uint8, (3, *SIZE))
    assert torch.equal(label, torch.from_numpy(ids(0, 1, 2, 255)))
    assert torch.equal(image, torch.from_numpy(np.array(Image.open(root / "images/train/a.png"))).permute(2, 0, 1))


def test_samples_are_resized_and_labels_stay_classes(root):
    image, label = folder(root, size=(16, 20)).split("val")[0]
    assert (image.shape, label.shape) == ((3, 16, 20), (16, 20))
    assert set(label.unique().tolist()) == {0, 1, 2, 255}


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4), ("RGB", 1), ("L", 3)])
def test_channels(tmp_path, mode, channels):
    write(tmp_path, "a", ids(0, 1), mode=mode)
    data = folder(tmp_path, channels=channels)
    assert data.split("train")[0][0].shape == (channels, *SIZE)
    assert data.info.image_channels == channels


def test_a_missing_fourth_channel_is_not_made_up(root):
    with pytest.raises(DataError, match=r"four channels.*mode='RGB'"):
        folder(root, channels=4).split("train")[0]


def test_ids_of_ones_own_and_ids_to_ignore(tmp_path):
    write(tmp_path, "a", ids(7, 11, 26, 0))
    label = folder(tmp_path, ids=(11, 7, 26), ignore=(0, 3)).split("train")[0][1]
    assert torch.equal(label, torch.from_numpy(ids(1, 0, 2, 255)))


def test_an_ignored_id_below_the_classes_shifts_them(tmp_path):
    """As in ADE20K: 0 is nothing, classes begin at 1."""
    write(tmp_path, "a", ids(0, 1, 2, 3))
    label = folder(tmp_path, ignore=(0,)).split("train")[0][1]
    assert torch.equal(label, torch.from_numpy(ids(255, 0, 1, 2)))


def test_unlisted_values_are_ignored_on_request(tmp_path):
    write(tmp_path, "a", ids(0, 77))
    with pytest.raises(DataError, match=r"0\.\.2.*found=\[77\].*a\.png"):
        folder(tmp_path).split("train")[0]
    label = folder(tmp_path, unlisted="ignore").split("train")[0][1]
    assert torch.equal(label, torch.from_numpy(ids(0, 255)))


def test_colours(tmp_path):
    colours = ((0, 0, 0), (200, 10, 10), (10, 10, 200))
    rgb = np.array(colours, np.uint8)[np.minimum(ids(1, 0, 2), 2)]
    write(tmp_path, "a", rgb)
    data = folder(tmp_path, colours=colours, classes=("none", "red", "blue"))
    assert torch.equal(data.split("train")[0][1], torch.from_numpy(ids(1, 0, 2)))
    assert data.info.palette == colours
    rgb[0, 0] = (1, 2, 3)
    write(tmp_path, "a", rgb)
    with pytest.raises(DataError, match=r"colours that are listed.*\[1, 2, 3\]"):
        data.split("train")[0]


def test_colours_without_their_list_say_what_to_do(tmp_path):
    write(tmp_path, "a", np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(DataError, match=r"one channel.*colours"):
        folder(tmp_path).split("train")[0]


def test_sub_folders_and_suffixes(tmp_path):
    """As in Cityscapes."""
    write(tmp_path, "aachen/x", ids(0, 1), suffix=("_leftImg8bit", "_gtFine_labelIds"))
    data = folder(tmp_path, image_suffix="_leftImg8bit", label_suffix="_gtFine_labelIds")
    assert len(data.split("train")) == 1
    with pytest.raises(DataError, match="images/other, labels/other"):
        folder(tmp_path, train="other").split("train")


def test_missing_labels_are_reported_together(root):
    for name in range(14):
        _, label = write(root, f"c{name:02d}", ids(0, 1))
        label.unlink()
    with pytest.raises(DataError) as error:
        folder(root).fingerprint()
    lines = str(error.value).splitlines()
    assert len(lines) == 11
    assert "c00.png" in lines[0]
    assert lines[-1] == "... and 4 more."


def test_a_broken_file_is_named(root):
    (root / "images/train/a.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    with pytest.raises(DataError, match=r"can be read.*a\.png"):
        folder(root).split("train")[0]


def test_sizes_that_differ_are_named(root):
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(root / "labels/train/a.png")
    with pytest.raises(DataError, match=r"as large as.*label=\(5, 6\).*a\.png"):
        folder(root).split("train")[0]


def test_deep_images_are_refused_rather_than_clipped(root):
    Image.fromarray(np.full(SIZE, 40_000, np.uint16)).save(root / "images/train/a.png")
    with pytest.raises(DataError, match="8 bits a channel"):
        folder(root, channels=1).split("train")[0]


def test_an_empty_split_says_so(root):
    (root / "images/val/a.png").unlink()
    (root / "images/val/deep/b.png").unlink()
    with pytest.raises(DataError, match="images to val with"):
        folder(root).split("val")


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        ({"ids": (1, 2)}, "one value of its own for each class"),
        ({"ids": (1, 2, 2)}, "one value of its own for each class"),
        ({"colours": ((0, 0, 0), (1, 1, 1), (2, 2, 256))}, "from 0 to 255"),
        ({"ids": (1, 2, 3), "colours": ((0, 0, 0), (1, 1, 1), (2, 2, 2))}, "not both"),
        ({"ids": (1, 2, 255)}, "not ignored"),
        ({"classes": ("a", "a")}, "names of their own"),
    ],
)
def test_options_that_contradict_each_other(tmp_path, options, needs):
    with pytest.raises(DataError, match=needs):
        folder(tmp_path, **options)


def test_nothing_is_touched_before_it_is_needed(tmp_path):
    assert folder(tmp_path / "nowhere").info.names == ("class 0", "class 1", "class 2")


def test_the_fingerprint_is_of_names_and_sizes_not_of_places(root, tmp_path_factory):
    before = folder(root).fingerprint()
    moved = tmp_path_factory.mktemp("moved") / "data"
    root.rename(moved)
    assert folder(moved).fingerprint() == before
    assert folder(moved, size=(64, 64)).fingerprint() == before
    write(moved, "z", ids(0, 1))
    assert folder(moved).fingerprint() != before


def test_a_place_is_asked_for():
    with pytest.raises(DataError, match=r"its root.*Set data\.camvid\.root"):
        dataset(Component("camvid"), {"root": ""})
    with pytest.raises(DataError, match="Did you mean 'camvid'"):
        dataset(Component("camvidd"), {})
    with pytest.raises(BlockError, match="options that exist"):
        dataset(Component.of("shapes", {"sise": (1, 2)}), {})
