import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from blocks.architecture import Component
from blocks.errors import DataError
from runners.data import dataset

# Published classes, counted from 1, and what they are among the 171: the first, the last before and the first after a gap, the last.
DRAWN = (0, 1, 11, 13, 25, 27, 91 + 1, 182)
CLASSES = (255, 0, 10, 11, 23, 24, 80, 170)


def small(name, root):
    return dataset(Component.of(name, {"size": (24, 32)}), {"root": str(root)})


def converted(root, draw, train, val, rows):
    for part, name in ((train, "COCO_train2014_000000000077"), (val, "COCO_train2014_000000000081")):
        draw(root, f"images/{part}/{name}.jpg", f"annotations/{part}/{name}_labelTrainIds.png", rows)
    return root


def published10k(root, draw, rows=DRAWN):
    (root / "imageLists").mkdir()
    (root / "annotations").mkdir()
    for part, name in (("train", "COCO_train2014_000000000077"), ("test", "COCO_train2014_000000000081")):
        draw(root, f"images/{name}.jpg", "label.png", rows)
        values = np.array(Image.open(root / "label.png")).astype(np.uint16)
        savemat(root / f"annotations/{name}.mat", {"S": values, "captions": "a cat", "names": ["unlabeled"]})
        (root / f"imageLists/{part}.txt").write_text(f"{name}\n")
    return root


@pytest.mark.parametrize("split", ["train", "val"])
def test_10k_as_published_and_as_converted(tmp_path, draw, split):
    (tmp_path / "a").mkdir()
    rows = tuple((c + 1) % 256 for c in CLASSES)
    for data in (
        small("coco_stuff10k", published10k(tmp_path / "a", draw)),
        small("coco_stuff10k", converted(tmp_path / "b", draw, "train2014", "test2014", rows)),
    ):
        assert len(data.split(split)) == 1
        assert data.split(split)[0][1][:8, 0].tolist() == list(CLASSES)


def test_10k_conversion_changes_no_fingerprint(tmp_path, draw):
    before = small("coco_stuff10k", published10k(tmp_path, draw)).fingerprint()
    assert small("coco_stuff10k", converted(tmp_path, draw, "train2014", "test2014", (1,))).fingerprint() == before


def test_10k_wrong_files_are_named(tmp_path, draw):
    published10k(tmp_path, draw)
    data = small("coco_stuff10k", tmp_path)
    label = tmp_path / "annotations/COCO_train2014_000000000077.mat"
    savemat(label, {"S": np.full((24, 32), 183, np.uint16)})
    with pytest.raises(DataError, match=r"found=\[183\].*000077\.mat"):
        data.split("train")[0]
    savemat(label, {"T": np.zeros((24, 32))})
    with pytest.raises(DataError, match=r"the variable S.*000077\.mat"):
        data.split("train")[0]
    label.write_bytes(b"MATLAB 5.0 cut off")
    with pytest.raises(DataError, match=r"the variable S.*000077\.mat"):
        data.split("train")[0]
    label.unlink()
    with pytest.raises(DataError, match=r"a label for each name.*'COCO_train2014_000000000077\.mat'.*annotations"):
        data.split("train")


def test_10k_without_lists_is_not_the_published_one(tmp_path, draw):
    published10k(tmp_path, draw)
    shutil.rmtree(tmp_path / "imageLists")
    with pytest.raises(DataError, match=r"imageLists/train\.txt"):
        small("coco_stuff10k", tmp_path).split("train")


@pytest.mark.parametrize(("ending", "rows"), [("", [(d - 1) % 256 for d in DRAWN]), ("_labelTrainIds", CLASSES)])
def test_164k_as_published_and_as_converted(tmp_path, draw, ending, rows):
    for part in ("train2017", "val2017"):
        draw(tmp_path, f"images/{part}/000000000139.jpg", f"annotations/{part}/000000000139{ending}.png", rows)
    data = small("coco_stuff164k", tmp_path)
    for split in ("train", "val"):
        assert data.split(split)[0][1][:8, 0].tolist() == list(CLASSES)


def test_164k_conversion_changes_no_fingerprint(tmp_path, draw):
    for part in ("train2017", "val2017"):
        draw(tmp_path, f"images/{part}/000000000139.jpg", f"annotations/{part}/000000000139.png", (0, 12))
    before = small("coco_stuff164k", tmp_path).fingerprint()
    for part in ("train2017", "val2017"):
        draw(tmp_path, f"images/{part}/000000000139.jpg", f"annotations/{part}/000000000139_labelTrainIds.png", (0, 11))
    data = small("coco_stuff164k", tmp_path)
    assert data.fingerprint() == before
    assert data.split("train")[0][1][:2, 0].tolist() == [0, 11]
    assert data.split("train").strays() == []


def test_what_is_known_without_files(tmp_path):
    for name in ("coco_stuff10k", "coco_stuff164k"):
        info = dataset(Component(name), {"root": str(tmp_path / "nowhere")}).info
        assert (info.classes, len(info.palette), len(set(info.names))) == (171, 171, 171)
        # The first of things, the last of them, the first of stuff, the last.
        assert [info.names[i] for i in (0, 79, 80, 170)] == ["person", "toothbrush", "banner", "wood"]
