"""Decoded samples in files that all processes of a machine share."""

import io
import logging
import multiprocessing
import os
import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blocks.architecture import Component
from blocks.errors import DataError
from runners.data import cache, dataset
from runners.data.memory import InMemory
from runners.data.unreadable import Unreadable

COMPONENT = Component.of("folder", {"size": (16, 24), "classes": 5})
SAMPLE = 16 * 24 * 4


def make(root, train=6, val=3):
    """Images of 32 x 48 noise, which are resized when they are decoded."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for index in range(count):
            for kind, pixels in (
                ("images", rng.integers(0, 256, (32, 48, 3))),
                ("labels", rng.integers(0, 5, (32, 48))),
            ):
                path = root / kind / split / f"{index:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    return {"root": str(root)}


@pytest.fixture
def place(tmp_path):
    return make(tmp_path / "data")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def opened(place, folder, limit=10**9, component=COMPONENT, share=1.0):
    """As another process would: nothing is remembered."""
    data = dataset(component, place)
    return InMemory(data, (component, tuple(sorted(place.items())), data.fingerprint(), limit, str(folder)), share)


def content(data):
    return [data.split(name)[index] for name in ("train", "val") for index in range(len(data.split(name)))]


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, y) for s, t in zip(a, b, strict=True) for x, y in zip(s, t, strict=True)
    )


def direct(place):
    return content(dataset(COMPONENT, place))


def files(folder):
    return sorted(folder.glob("*.samples"))


def damage_the_originals(place):
    """So that who reads them all the same is caught; size and time stay."""
    for path in Path(place["root"]).glob("images/train/*"):
        about = path.stat()
        path.write_bytes(bytes(about.st_size))
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_the_next_process_finds_the_same_bits_and_decodes_nothing(place, folder, caplog):
    expected = direct(place)
    first = opened(place, folder)
    assert same(content(first), expected)
    assert [path.name.rpartition("-")[0] for path in files(folder)] == ["folder-train", "folder-val"]
    damage_the_originals(place)
    with caplog.at_level(logging.INFO, logger="nas"):
        again = opened(place, folder)
    assert same(content(again), expected)
    assert f"decoded 0 samples of folder in 0.0 s and found 9 in {folder}" in caplog.text


def test_a_share_of_the_images_has_a_file_of_its_own(place, folder, caplog):
    whole = opened(place, folder)
    part = opened(place, folder, share=0.5)
    assert [part.split("train").kept, whole.split("train").kept] == [3, 6]
    assert sum(path.name.startswith("folder-train") for path in files(folder)) == 2
    assert same(content(part), direct(place))
    damage_the_originals(place)
    with caplog.at_level(logging.INFO, logger="nas"):
        opened(place, folder, share=0.5)
    assert f"decoded 0 samples of folder in 0.0 s and found 6 in {folder}" in caplog.text


def test_samples_are_views_of_one_private_mapping(place, folder):
    data = opened(place, folder)
    before = [path.read_bytes() for path in files(folder)]
    (a, _), (b, label) = data.split("train")[0], data.split("train")[1]
    assert a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr() == label.untyped_storage().data_ptr()
    a.add_(1)  # what a careless augmentation might do
    assert [path.read_bytes() for path in files(folder)] == before
    assert same(content(opened(place, folder)), direct(place))


@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "head", "index", "other"])
def test_a_damaged_file_is_noticed_and_made_anew(place, folder, caplog, damage):
    opened(place, folder)
    path = files(folder)[0]
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[:-1],
            "longer": whole + b"0",
            "empty": b"",
            "head": b"x" + whole[1:],
            "index": whole[:80] + b"\x07" + whole[81:],
            "other": files(folder)[1].read_bytes(),
        }[damage]
    )
    data = opened(place, folder)
    assert "are damaged, they are decoded again" in caplog.text
    assert same(content(data), direct(place))
    assert path.read_bytes() == whole


def test_a_file_that_was_written_again_is_decoded_again(place, folder):
    opened(place, folder)
    label = Path(place["root"]) / "labels/train/002.png"
    size = label.stat().st_size
    pixels = np.asarray(Image.open(label))
    for shift in range(1, 99):  # other labels in a file of the same size
        other = io.BytesIO()
        Image.fromarray(np.roll(pixels, shift)).save(other, "png")
        if other.tell() == size:
            break
    assert other.tell() == size
    label.write_bytes(other.getvalue())
    assert same(content(opened(place, folder)), direct(place))


@pytest.mark.parametrize("fit", [0, 4, 7])
def test_what_is_beyond_the_limit_is_read_each_time(place, folder, fit):
    data = opened(place, folder, fit * SAMPLE)
    assert data.split("train").kept + data.split("val").kept == fit
    assert same(content(data), direct(place))
    assert same(content(opened(place, folder, fit * SAMPLE)), direct(place))


def test_samples_may_vary_in_size(place, folder):
    class Varying:
        """The same files at the sizes that they have, each another one."""

        def __init__(self, inner):
            self._inner = inner

        def __len__(self):
            return len(self._inner)

        def __getitem__(self, index):
            image, label = self._inner.original(index)
            return image[:, : 20 + index, : 30 - index], label[: 20 + index, : 30 - index]

        def stamp(self):
            return self._inner.stamp()

    class Data:
        def __init__(self):
            self._data = dataset(COMPONENT, place)
            self.info = replace(self._data.info, varies=True)

        def fingerprint(self):
            return "varying"

        def split(self, name):
            return Varying(self._data.split(name))

    expected = content(Data())
    assert len({tuple(label.shape) for _, label in expected}) == 6
    for limit in (10**9, 4 * (20 * 30 + 21 * 29 + 22 * 28)):
        for where in (str(folder), "memory"):
            key = (COMPONENT, (), "varying", limit, where)
            first, again = InMemory(Data(), key), InMemory(Data(), key)
            assert same(content(first), expected)
            assert same(content(again), expected)
            kept = first.split("train").kept
            assert kept == (6 if limit == 10**9 else 3)
            assert first.split("train").bytes == sum(4 * label.numel() for _, label in expected[:kept])


def _open_at_once(place, folder, barrier, results):
    logging.disable(logging.NOTSET)
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logging.getLogger("nas").addHandler(handler)
    logging.getLogger("nas").setLevel(logging.INFO)
    barrier.wait()
    data = opened(place, folder)
    fresh = next(m for m in records if m.startswith("decoded")).split()[1]
    results.put((int(fresh), same(content(data), direct(place))))


def test_of_several_processes_one_decodes(place, folder):
    fork = multiprocessing.get_context("fork")
    barrier, results = fork.Barrier(4), fork.Queue()
    processes = [fork.Process(target=_open_at_once, args=(place, folder, barrier, results)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert [right for _, right in found] == [True] * 4
    assert len(files(folder)) == 2
    assert not list(folder.glob(".*.samples.*"))


def _hold(folder, ready):
    with cache.locked(folder, "held"):
        (folder / ".held-1.samples.123").write_bytes(b"half of it")
        ready.set()
        time.sleep(600)


def test_a_dead_process_holds_no_lock_and_its_draft_goes(tmp_path):
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    process = fork.Process(target=_hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(60)
    process.kill()
    process.join()
    with cache.locked(tmp_path, "held"):
        assert not list(tmp_path.glob(".held-1*"))


def test_a_disk_that_does_not_take_it_means_memory(place, tmp_path, caplog):
    folder = tmp_path / "a file"
    folder.write_text("where a folder should be")
    data = opened(place, folder)
    assert "decoded samples stay in this process's memory" in caplog.text
    assert data.split("train").kept == 6
    assert same(content(data), direct(place))


def test_a_disk_that_is_full_means_memory(place, folder, caplog, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    data = opened(place, folder)
    assert "No space left" in caplog.text
    assert same(content(data), direct(place))
    assert files(folder) == []
    assert not list(folder.glob(".*.samples.*"))


def test_the_folder_of_all_is_ones_own(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = cache.folder_of(None)
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert cache.folder_of("memory") is None
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="somebody else"):
        cache.folder_of(None)


def test_what_was_not_opened_for_longest_goes_first(tmp_path):
    now = time.time()
    for name, size, age in (("old", 10, 40 * 86400), ("b", 40, 300), ("c", 40, 200), ("d", 40, 100)):
        path = tmp_path / f"{name}.samples"
        path.write_bytes(bytes(size))
        os.utime(path, (now - age, now - age))
    (tmp_path / "another's.txt").write_text("stays")
    cache.prune(tmp_path, 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another's.txt", "c.samples", "d.samples"]


def test_who_is_sent_it_opens_the_file_anew(place, folder):
    split = opened(place, folder).split("train")
    sent = pickle.dumps(split._samples)
    assert len(sent) < 1000
    assert same(list(pickle.loads(sent)), content(opened(place, folder))[:6])
    for path in files(folder):
        path.unlink()
    assert list(pickle.loads(sent)) == [None] * 6


def test_drawn_samples_stay_in_memory(tmp_path):
    shapes = Component.of("shapes", {"size": (16, 16), "train": 3, "val": 2})
    data = opened({}, tmp_path, component=shapes)
    assert data.split("train").kept == 3
    assert files(tmp_path) == []


def test_wrong_labels_leave_no_file(place, folder):
    Image.fromarray(np.full((32, 48), 9, np.uint8)).save(f"{place['root']}/labels/train/001.png")
    with pytest.raises(DataError, match=r"label values.*001\.png"):
        opened(place, folder)
    assert files(folder) == []


def test_one_unreadable_image_in_a_hundred_is_no_obstacle(tmp_path, folder):
    place = make(tmp_path / "data", train=100, val=1)
    bad = tmp_path / "data/images/train/007.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        split = opened(place, folder).split("train")
        assert split.kept == 100
        with pytest.raises(DataError, match=r"images that can be read: got file='.*007\.png'"):
            split[7]
        assert torch.equal(split[8][0], dataset(COMPONENT, place).split("train")[8][0])
    (tmp_path / "data/images/train/050.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"split train, needs at most 1% of its images unreadable: got unreadable=2"
    ) as e:
        opened(place, folder)
    assert "007.png" in str(e.value)
    assert "050.png" in str(e.value)


def test_too_many_are_counted_and_ten_are_named():
    unreadable = Unreadable("Data set x, split val,", 1000, "left out")
    for index in range(10):
        unreadable.add((index, f"file {index}"))
    unreadable.add((3, "again"))
    for index in range(10, 12):
        unreadable.collect((index, f"file {index}"))
    with pytest.raises(DataError) as error:
        unreadable.check()
    lines = str(error.value).splitlines()
    assert "unreadable=12, images=1000" in lines[0]
    assert lines[1:] == [*(f"file {i}" for i in range(10)), "... and 2 more."]
    assert len(error.value.problems) == 12
