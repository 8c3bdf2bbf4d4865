import pytest

from blocks.architecture import Component
from blocks.errors import DataError
from runners.data import dataset


def ade20k(root):
    return dataset(Component.of("ade20k", {"size": (24, 32)}), {"root": str(root)})


@pytest.fixture
def root(tmp_path, draw):
    for part, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        draw(tmp_path, f"images/{part}/{name}.jpg", f"annotations/{part}/{name}.png", (0, 1, 2, 150))
    return tmp_path


def test_other_is_ignored_and_classes_count_from_zero(root):
    data = ade20k(root)
    for split in ("train", "val"):
        assert len(data.split(split)) == 1
        image, label = data.split(split)[0]
        assert image.shape == (3, 24, 32)
        assert label[:4, 0].tolist() == [255, 0, 1, 149]


def test_what_is_known_without_files(tmp_path):
    info = dataset(Component("ade20k"), {"root": str(tmp_path / "nowhere")}).info
    assert (info.classes, info.size, info.image_channels) == (150, (512, 512), 3)
    assert len(info.palette) == 150
    assert len(set(info.names)) == 150
    assert [info.names[i] for i in (0, 7, 149)] == ["wall", "bed", "flag"]
    assert [info.palette[i] for i in (0, 1, 149)] == [(120, 120, 120), (180, 120, 120), (92, 0, 255)]


def test_a_label_beyond_the_classes_is_named(root, draw):
    draw(root, "images/training/x.jpg", "annotations/training/x.png", (3, 151))
    with pytest.raises(DataError, match=r"found=\[151\].*x\.png"):
        ade20k(root).split("train")[1]


def test_the_folder_above_is_told_apart(root, tmp_path_factory):
    above = tmp_path_factory.mktemp("above")
    root.rename(above / "ADEChallengeData2016")
    with pytest.raises(DataError, match=r"training below its root.*folder that holds .*: .*/ADEChallengeData2016"):
        ade20k(above).split("train")


def test_the_full_release_has_another_layout(tmp_path, draw):
    draw(tmp_path, "images/ADE/training/cultural/apse__indoor/ADE_train_00001472.jpg")
    with pytest.raises(DataError, match=r"images/training, annotations/training below its root.*found=\['images'\]"):
        ade20k(tmp_path).split("train")
