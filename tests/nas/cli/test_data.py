"""`nas data`: what it counts, and that it names everything that is wrong."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.cli import main
from nas.report.samples import overlay
from runners.data import DataInfo

SIZE = (48, 64)
CAMVID = Path(os.environ.get("CAMVID") or Path(__file__).parents[3] / "../shared/data/camvid")


@pytest.fixture
def data(monkeypatch, capsys):
    """The command, in this process: (exit code, standard output, standard error)."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nas", "data", *words])
        with pytest.raises(SystemExit) as exit:
            main()
        said = capsys.readouterr()
        return int(exit.value.code or 0), said.out, said.err

    return run


def write(root: Path, split: str, name: str, label: np.ndarray, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    for folder, array in (("images", pixels), ("labels", label)):
        path = root / folder / split / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes of which the last is rare, and something that is ignored."""
    rng = np.random.default_rng(0)
    for number, (split, name) in enumerate((("train", "a"), ("train", "b"), ("train", "c"), ("val", "d"))):
        label = rng.choice([0, 1, 255], SIZE, p=[0.5, 0.3, 0.2]).astype(np.uint8)
        if name == "b":
            label[3, 5:9] = 2
        write(tmp_path, split, name, label, number)
    return tmp_path


FOLDER = ("folder", "--set", "data.folder.classes=[street, house, dog]", "--set", "data.folder.size=[16, 16]")


def test_shares_are_those_of_the_files_whatever_the_size_that_is_trained_at(data, root):
    code, out, _ = data(*FOLDER, "--root", str(root), "--format", "json")
    assert code == 0
    rows = json.loads(out)
    assert [row["class"] for row in rows] == ["street", "house", "dog", "(ignored)"]
    for split in ("train", "val"):
        labels = [np.array(Image.open(path)) for path in sorted((root / "labels" / split).iterdir())]
        for row in rows:
            where = [label == row["id"] for label in labels]
            assert row[f"{split}_share"] == pytest.approx(float(np.mean(where)), abs=1e-12)
            assert row[f"{split}_images"] == sum(bool(one.any()) for one in where)
    assert sum(row["train_share"] for row in rows) == pytest.approx(1.0)


def test_people_get_both_tables_and_what_is_good_to_know(data, root):
    code, out, err = data(*FOLDER, "--root", str(root))
    assert code == 0
    assert "Data set folder" in out
    assert "48x64" in out
    assert "dog" in out
    assert "No pixel in val is labelled dog." in err


def test_rows_of_splits(data, root):
    _, out, _ = data(*FOLDER, "--root", str(root), "--rows", "splits", "--format", "json")
    train, val = json.loads(out)
    assert (train["samples"], train["checked"], train["classes"], train["problems"]) == (3, 3, 3, 0)
    assert (val["samples"], val["smallest"], val["largest"], val["classes"]) == (1, "48x64", "48x64", 2)
    assert 0.7 < train["labelled"] < 0.9


def test_every_wrong_file_is_named(data, root):
    (root / "images/train/a.png").write_bytes(b"\x89PNG cut off")
    write(root, "train", "b", np.full(SIZE, 3, np.uint8), 1)
    write(root, "train", "c", np.zeros((5, 7), np.uint8), 2)
    code, out, err = data(*FOLDER, "--root", str(root))
    assert code == 2
    # What can be counted is.
    assert "street" in out
    for needs, name in (
        ("can be read", "images/train/a.png"),
        ("label values among 0..2", "labels/train/b.png"),
        ("as large as their images", "labels/train/c.png"),
    ):
        assert any(needs in line and name in line for line in err.splitlines()), needs
    assert "problems=3" in err


def test_all_missing_files_are_named_and_the_other_split_is_read(data, root):
    for number in range(30):
        write(root, "train", f"x{number:02d}", np.zeros(SIZE, np.uint8), number)
        (root / f"labels/train/x{number:02d}.png").unlink()
    code, _, err = data(*FOLDER, "--root", str(root))
    assert code == 2
    assert "... and 10 more; --rows problems names them all." in err
    code, out, err = data(*FOLDER, "--root", str(root), "--rows", "problems", "--format", "json")
    assert code == 2
    assert [f"x{number:02d}.png" in row["problem"] for number, row in enumerate(json.loads(out))] == [True] * 30
    assert "x00" not in err
    _, out, _ = data(*FOLDER, "--root", str(root), "--rows", "splits", "--format", "json")
    assert [(row["samples"], row["checked"]) for row in json.loads(out)] == [(None, 0), (1, 1)]


def test_a_wrong_layout_says_what_was_expected_and_found(data, root):
    code, out, err = data("ade20k", "--root", str(root))
    assert code == 2
    assert "images/training, annotations/training below its root" in err
    assert "found=['images', 'labels']" in err
    # A hundred and fifty empty rows would hide it.
    assert "chest of drawers" not in out


def test_published_counts_and_images_in_both_splits_are_told(data, tmp_path, monkeypatch):
    for split in ("train", "val"):
        write(tmp_path, split, split, np.zeros(SIZE, np.uint8), 7)
    monkeypatch.setenv("CAMVID", str(tmp_path))
    code, _, err = data("camvid")
    assert code == 0
    assert "train has 1 samples; 367 are published." in err
    assert "1 images are in both splits: images/train/train.png." in err


def test_labels_without_an_image_are_told(data, root):
    (root / "images/train/c.png").unlink()
    code, _, err = data(*FOLDER, "--root", str(root))
    assert code == 0
    assert "1 labels in train belong to no image: labels/train/c.png." in err


def test_a_few_samples_are_drawn(data):
    _, out, err = data("shapes", "--samples", "3", "--rows", "splits", "--format", "json")
    assert [(row["samples"], row["checked"]) for row in json.loads(out)] == [(256, 3), (64, 3)]
    assert "No pixel" not in err


def test_a_space_says_which_data_and_where(data, root, tmp_path):
    space = tmp_path / "mine.yaml"
    space.write_text(
        f'data: {{folder: {{root: "{root}", classes: 3}}}}\narchitecture: {{backbone: {{timm: {{model: resnet18}}}}}}\n'
    )
    code, out, _ = data(str(space), "--format", "csv")
    assert code == 0
    assert out.splitlines()[1].startswith("0,class 0,")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ade20kk",), "Did you mean 'ade20k'"),
        (("voc2012",), "export VOC2012=PATH or --set data.voc2012.root=PATH"),
        (("shapes", "--root", "/tmp"), "a data set of files"),
        (("shapes", "--rows", "class"), "Did you mean 'classes'"),
        (("shapes", "--picture", "it.jpg"), "ends in .png"),
        (("shapes", "--picture", "nowhere/it.png"), "in a folder that exists"),
        (("shapes", "--format", "xml"), "--format"),
        (("shapes", "--set", "data.shapes.sise=3"), "Did you mean 'size'"),
    ],
)
def test_mistakes(data, words, said, monkeypatch):
    monkeypatch.delenv("VOC2012", raising=False)
    code, out, err = data(*words)
    assert (code, out) == (2, "")
    assert said in err


def test_without_a_name_it_lists_what_there_is(data):
    rows = {row["data"]: row for row in json.loads(data("--format", "json")[1])}
    assert (rows["ade20k"]["classes"], rows["ade20k"]["train"], rows["ade20k"]["val"]) == (150, 20210, 2000)
    assert rows["folder"]["classes"] is None
    assert all(row["about"] for row in rows.values())


def test_the_picture_shows_samples_of_both_splits(data, root, tmp_path):
    path = tmp_path / "picture.png"
    code, _, err = data(*FOLDER, "--root", str(root), "--set", "data.folder.size=[48, 64]", "--picture", str(path))
    assert code == 0
    assert f"Written to {path}" in err
    picture = np.array(Image.open(path))
    # Three samples to train on and one to evaluate on, two in a row, each as image and overlay, five times as large.
    assert picture.shape[1] == 2 * (2 * 5 * SIZE[1]) + 8
    assert picture.shape[0] > 2 * 5 * SIZE[0]
    image = np.array(Image.open(root / "images/train/a.png"))
    assert np.array_equal(picture[22 : 22 + 5 * SIZE[0] : 5, : 5 * SIZE[1] : 5], image)


def test_samples_of_several_proportions_are_checked_and_drawn(data, root, tmp_path):
    for kind in ("images", "labels"):
        path = root / kind / "val" / "d.png"
        Image.open(path).rotate(90, expand=True).save(path)
    path = tmp_path / "picture.png"
    sets = ("--set", "data.folder.short=24", "--set", "data.folder.long=40")
    code, out, err = data(
        *FOLDER, *sets, "--root", str(root), "--rows", "splits", "--format", "json", "--picture", str(path)
    )
    assert code == 0, err
    assert [row["largest"] for row in json.loads(out)] == ["48x64", "64x48"]
    # The tile of an image that lies is wider than that of one that stands; all are found in the picture.
    picture = np.array(Image.open(path))
    assert picture.shape[1] == 2 * (2 * 11 * 32) + 8
    assert picture.shape[0] > 11 * 24 + 15 * 24


def test_the_overlay_is_the_class_over_the_image_and_a_chequerboard_where_ignored():
    info = DataInfo(("a", "b"), ((255, 0, 0), (0, 0, 255)), 3, (2, 2))
    pixels = np.full((2, 2, 3), 100, np.uint8)
    shown = overlay(pixels, np.array([[0, 1], [255, 0]], np.uint8), info)
    assert shown[0, 0].tolist() == [193, 40, 40]
    assert shown[0, 1].tolist() == [40, 40, 193]
    assert len(set(shown[1, 0].tolist())) == 1
    assert shown[1, 0, 0] in (160, 224)


@pytest.mark.slow
@pytest.mark.skipif(not (CAMVID / "images").is_dir(), reason=f"no CamVid in {CAMVID}; set CAMVID")
def test_camvid_has_the_shares_that_its_description_states(data):
    code, out, _ = data("camvid", "--root", str(CAMVID), "--format", "json")
    assert code == 0
    stated = [16.9, 23.3, 1.0, 31.7, 4.5, 9.7, 1.2, 1.1, 5.9, 0.6, 0.3, 4.0]
    # Rounded twice: 16.85 became 16.9.
    assert [100 * row["train_share"] for row in json.loads(out)] == pytest.approx(stated, abs=0.06)
