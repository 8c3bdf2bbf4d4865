import pytest

from blocks.architecture import Component
from blocks.errors import DataError
from runners.data import dataset

LISTS = "ImageSets/Segmentation"


def voc(root, **options):
    return dataset(Component.of("voc2012", {"size": (24, 32)} | options), {"root": str(root)})


@pytest.fixture
def root(tmp_path, draw):
    """One published image to train on, one to evaluate on, and one that is in the augmented set alone."""
    for name in ("2007_000032", "2007_000033"):
        draw(tmp_path, f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png", (0, 1, 20, 255))
        draw(tmp_path, f"JPEGImages/{name}.jpg", f"SegmentationClassAug/{name}.png", (7,))
    draw(tmp_path, "JPEGImages/2008_000008.jpg", "SegmentationClassAug/2008_000008.png", (13,))
    draw(tmp_path, "JPEGImages/2008_000001.jpg")
    (tmp_path / LISTS).mkdir(parents=True)
    (tmp_path / LISTS / "train.txt").write_text("2007_000032\n")
    (tmp_path / LISTS / "val.txt").write_text("2007_000033\n")
    return tmp_path


def test_the_published_lists_say_what_is_in_a_split(root):
    for split in ("train", "val"):
        assert len(voc(root).split(split)) == 1
        assert voc(root).split(split)[0][1][:4, 0].tolist() == [0, 1, 20, 255]


@pytest.mark.parametrize(
    "lists",
    [
        {"aug.txt": "2008_000008\n"},
        {"trainaug.txt": "2008_000008\n2007_000032\n"},
        {
            "train_aug.txt": "/JPEGImages/2008_000008.jpg /SegmentationClassAug/2008_000008.png\n"
            "/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png\n"
        },
    ],
)
def test_the_augmented_set_by_any_of_its_lists(root, lists):
    for name, text in lists.items():
        (root / LISTS / name).write_text(text)
    data = voc(root, augmented=True)
    train, val = data.split("train"), data.split("val")
    assert (len(train), len(val)) == (2, 1)
    # What was published keeps its published label.
    assert train[0][1][:4, 0].tolist() == [0, 1, 20, 255]
    assert train[1][1].unique().tolist() == [13]
    assert val[0][1][:4, 0].tolist() == [0, 1, 20, 255]
    assert data.fingerprint() != voc(root).fingerprint()


def test_the_augmented_set_needs_its_list(root):
    with pytest.raises(DataError, match=r"lists of names.*trainaug\.txt"):
        voc(root, augmented=True).split("train")


def test_what_a_list_names_must_be_there(root):
    (root / LISTS / "train.txt").write_text("2007_000032\n2008_000001\n2009_000009\n")
    with pytest.raises(DataError) as error:
        voc(root).split("train")
    first, second = str(error.value).splitlines()
    assert "a label for each name" in first
    assert "'2008_000001.png'" in first
    assert "an image for each name" in second
    assert "'2009_000009.jpg'" in second


def test_an_empty_list_is_no_list(root):
    (root / LISTS / "val.txt").write_text("\n")
    with pytest.raises(DataError, match=r"lists of names.*empty=.*val\.txt"):
        voc(root).split("val")


def test_the_folder_above_is_told_apart(root, tmp_path_factory):
    above = tmp_path_factory.mktemp("VOCdevkit")
    root.rename(above / "VOC2012")
    with pytest.raises(DataError, match=r"JPEGImages, SegmentationClass below its root.*VOC2012"):
        voc(above).split("train")


def test_what_is_known_without_files(tmp_path):
    info = voc(tmp_path / "nowhere").info
    assert (info.classes, info.names[0], info.names[20]) == (21, "background", "tvmonitor")
    assert info.palette == tuple(colour(i) for i in range(21))
    assert (info.facts.train, voc(tmp_path, augmented=True).info.facts.train) == (1464, 10582)


def colour(number):
    """The development kit's rule: the bits of the number, dealt out to red, green and blue from the top."""
    bits = [[number >> 3 * k + channel & 1 for k in range(3)] for channel in range(3)]
    return tuple(sum(bit << 7 - k for k, bit in enumerate(channel)) for channel in bits)
