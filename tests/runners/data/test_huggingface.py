import pickle

import numpy as np
import pytest
import torch
from PIL import Image as Pictures

from blocks.architecture import Component
from blocks.errors import BlockError, DataError
from runners.data import dataset

SIZE = (24, 32)

datasets = pytest.importorskip(
    "datasets", reason="the package datasets is not installed: pip install 'segnas[huggingface]'"
)
Image, ClassLabel, Value = datasets.Image, datasets.ClassLabel, datasets.Value
FEATURES = {"image": Image(), "annotation": Image(), "scene": ClassLabel(names=["indoor", "outdoor"])}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Parquet files are copied once to where they can be mapped into memory."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def rows(count, label=None):
    drawn = np.tile(np.array([0, 1, 2, 255], np.uint8)[:, None], (6, SIZE[1])) if label is None else label
    picture = drawn if isinstance(drawn, list) else Pictures.fromarray(drawn)
    return [{"image": Pictures.fromarray(pixels(i)), "annotation": picture, "scene": 0} for i in range(count)]


def table(count=2, features=FEATURES, **options):
    return datasets.Dataset.from_list(rows(count, **options), features=datasets.Features(features))


def hf(root, **options):
    return dataset(Component.of("huggingface", {"size": SIZE, "classes": 3} | options), {"root": str(root)})


@pytest.fixture
def saved(tmp_path):
    splits = {"train": table(3), "validation": table(1)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "it")
    return tmp_path / "it"


@pytest.fixture
def parquet(tmp_path):
    """As a repository of the hub is laid out, in two pieces."""
    (tmp_path / "it/data").mkdir(parents=True)
    for split, piece in (("train", 0), ("train", 1), ("validation", 0)):
        table(piece + 1).to_parquet(tmp_path / f"it/data/{split}-{piece:05d}-of-00002.parquet")
    return tmp_path / "it"


@pytest.mark.parametrize("kind", ["saved", "parquet"])
def test_samples_are_those_that_were_saved(kind, request):
    data = hf(request.getfixturevalue(kind))
    assert (len(data.split("train")), len(data.split("val"))) == (3, 1)
    image, label = data.split("train")[0]
    assert torch.equal(image, torch.from_numpy(pixels(0)).permute(2, 0, 1))
    assert label[:4, 0].tolist() == [0, 1, 2, 255]
    assert len(data.fingerprint()) == 16
    small, few = hf(request.getfixturevalue(kind), size=(16, 20)).split("val")[0]
    assert (small.shape, few.shape) == ((3, 16, 20), (16, 20))


def test_rows_keep_their_proportions_and_give_their_label_alone(saved):
    split = hf(saved, size=(16, 16), short=18).split("train")
    image, label = split[2]
    assert (image.shape, label.shape) == ((3, 18, 24), (18, 24))
    assert torch.equal(split.label(2), split.original(2)[1])
    assert split.label(2).shape == SIZE
    with pytest.raises(IndexError):
        split.label(3)


def test_a_process_that_loads_gets_the_same_samples(parquet):
    split = hf(parquet).split("train")
    for mine, its in zip(split[1], pickle.loads(pickle.dumps(split))[1], strict=True):
        assert torch.equal(mine, its)


def test_no_sample_beyond_the_last(saved):
    with pytest.raises(IndexError):
        hf(saved).split("val")[1]


def test_the_hub_is_never_asked(saved, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection")

    monkeypatch.setattr("socket.socket.connect", refuse)
    assert len(hf(saved).split("train")) == 3


def test_a_split_by_another_name(saved):
    (saved / "validation").rename(saved / "test")
    with pytest.raises(DataError, match=r"validation/\*\.arrow.*found=\['dataset_dict\.json', 'test', 'train'\]"):
        hf(saved).split("val")
    assert len(hf(saved, val="test").split("val")) == 1


def test_labels_of_numbers_and_the_classes_that_features_name(tmp_path):
    named = datasets.List(datasets.List(ClassLabel(names=["street", "house", "dog"])))
    label = np.tile(np.array([0, 1, 2, 1])[:, None], (6, SIZE[1])).tolist()
    it = table(1, {"image": Image(), "annotation": named, "scene": Value("int32")}, label=label)
    it.save_to_disk(tmp_path / "train")
    assert hf(tmp_path).split("train")[0][1][:4, 0].tolist() == [0, 1, 2, 1]
    with pytest.raises(DataError, match=r"the 3 classes that its features name: got classes=2.*'dog'"):
        hf(tmp_path, classes=2).split("train")


def test_labels_of_two_dimensions(tmp_path):
    flat = datasets.Array2D(SIZE, "uint8")
    label = np.tile(np.array([0, 1, 2, 1], np.uint8)[:, None], (6, SIZE[1])).tolist()
    table(1, {"image": Image(), "annotation": flat, "scene": Value("int32")}, label=label).save_to_disk(
        tmp_path / "train"
    )
    assert hf(tmp_path).split("train")[0][1][:4, 0].tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize(
    ("label", "needs"),
    [([[0, 1], [2]], "rows of whole numbers, all as long"), ([[-1] * SIZE[1]] * SIZE[0], r"found=\[-1\]")],
)
def test_labels_of_numbers_that_are_none(tmp_path, label, needs):
    ints = datasets.List(datasets.List(Value("int32")))
    it = table(1, {"image": Image(), "annotation": ints, "scene": Value("int32")}, label=label)
    it.save_to_disk(tmp_path / "train")
    with pytest.raises(DataError, match=needs):
        hf(tmp_path).split("train")[0]


def test_columns_that_leave_a_doubt_are_asked_for(tmp_path):
    row = rows(1)[0]
    it = [row | {"depth": row["annotation"]}]
    features = datasets.Features(FEATURES | {"depth": Image()})
    datasets.Dataset.from_list(it, features=features).save_to_disk(tmp_path / "train")
    with pytest.raises(
        DataError, match=r"one column of images and one of labels.*'depth': 'Image'.*Set image and label"
    ):
        hf(tmp_path).split("train")
    with pytest.raises(DataError, match="Did you mean 'annotation'"):
        hf(tmp_path, label="annotations").split("train")
    for options in (
        {"image": "image", "label": "annotation"},
        {"image": "depth", "label": "annotation", "channels": 1},
    ):
        assert hf(tmp_path, **options).split("train")[0][1][:4, 0].tolist() == [0, 1, 2, 255]


def test_a_column_of_boxes_is_no_doubt_beside_two_of_images(tmp_path):
    it = table(1).add_column("boxes", [[[0.0, 1.0]]], feature=datasets.List(datasets.List(Value("float32"))))
    it.save_to_disk(tmp_path / "train")
    assert len(hf(tmp_path).split("train")) == 1


def test_ids_to_ignore_shift_the_classes(saved):
    label = hf(saved, ignore=(0, 255), classes=2).split("train")[0][1]
    assert label[:4, 0].tolist() == [255, 0, 1, 255]


def test_wrong_rows_are_named(tmp_path):
    table(1, label=np.full(SIZE, 7, np.uint8)).save_to_disk(tmp_path / "a/train")
    with pytest.raises(DataError, match=r"among 0\.\.2.*found=\[7\], sample='train\[0\]'"):
        hf(tmp_path / "a").split("train")[0]
    table(1, label=np.zeros((5, 6), np.uint8)).save_to_disk(tmp_path / "b/train")
    with pytest.raises(DataError, match=r"as large as.*sample='train\[0\]'"):
        hf(tmp_path / "b").split("train")[0]
    empty = datasets.Dataset.from_list([rows(1)[0] | {"annotation": None}], features=datasets.Features(FEATURES))
    empty.save_to_disk(tmp_path / "c/train")
    with pytest.raises(DataError, match=r"an image and a label.*column='annotation'"):
        hf(tmp_path / "c").split("train")[0]
    broken = [{"image": {"bytes": b"\x89PNG\r\n\x1a\ncut off", "path": None}} | {"annotation": None, "scene": 0}]
    datasets.Dataset.from_list(broken, features=datasets.Features(FEATURES)).save_to_disk(tmp_path / "d/train")
    with pytest.raises(DataError, match=r"can be read.*sample='train\[0\]'"):
        hf(tmp_path / "d").split("train")[0]


def test_files_that_are_cut_off_are_named(saved, parquet):
    for path in (saved / "train").glob("*.arrow"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"files that can be read.*\.arrow"):
        hf(saved).split("train")


def test_the_fingerprint_is_of_names_and_sizes_not_of_places(saved):
    before = hf(saved).fingerprint()
    saved.rename(saved.parent / "moved")
    assert hf(saved.parent / "moved").fingerprint() == before
    table(2).save_to_disk(saved.parent / "moved/validation")
    assert hf(saved.parent / "moved").fingerprint() != before


def test_what_is_known_without_files(tmp_path):
    info = hf(tmp_path / "nowhere", classes=("a", "b")).info
    assert (info.names, info.size) == (("a", "b"), SIZE)
    with pytest.raises(DataError, match=r"Data set huggingface\.ids needs one value"):
        hf(tmp_path, ids=(1,))
    with pytest.raises(BlockError, match="options that exist"):
        hf(tmp_path, sise=(1, 2))
    with pytest.raises(DataError, match="no such folder"):
        hf(tmp_path / "nowhere").fingerprint()
