from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blocks.architecture import Component
from blocks.errors import DataError
from runners.data import dataset
from runners.data.memory import in_memory
from runners.data.subset import chosen

SHAPES = Component.of("shapes", {"size": (32, 32), "train": 6, "val": 3})
SAMPLE = 32 * 32 * 4  # bytes


class Counting:
    """A data set that counts how often a sample is decoded."""

    def __init__(self, component: Component = SHAPES) -> None:
        self._data = dataset(component, {})
        self.info, self.reads = self._data.info, 0

    def fingerprint(self):
        return self._data.fingerprint()

    def split(self, name):
        return CountingSplit(self, self._data.split(name))


class CountingSplit:
    def __init__(self, owner, split):
        self._owner, self._split = owner, split

    def __len__(self):
        return len(self._split)

    def __getitem__(self, index):
        self._owner.reads += 1
        return self._split[index]


def test_samples_are_decoded_once_and_kept_for_the_next_trial():
    place = {"root": "decoded once"}
    data = Counting()
    kept = in_memory(data, SHAPES, place, 10**9)
    assert data.reads == 9
    for _ in range(2):
        for index in range(6):
            for mine, its in zip(kept.split("train")[index], dataset(SHAPES, {}).split("train")[index], strict=True):
                assert torch.equal(mine, its)
    assert data.reads == 9
    again = Counting()
    assert in_memory(again, SHAPES, place, 10**9) is kept
    assert again.reads == 0


@pytest.mark.parametrize("fit", [0, 1, 6, 8])
def test_memory_is_bounded_and_the_rest_is_read_each_time(fit):
    data = Counting()
    kept = in_memory(data, SHAPES, {"root": f"bounded {fit}"}, fit * SAMPLE + SAMPLE // 2)
    assert data.reads == fit
    assert kept.split("train").kept + kept.split("val").kept == fit
    for split, count in (("train", 6), ("val", 3)):
        for index in range(count):
            for mine, its in zip(kept.split(split)[index], dataset(SHAPES, {}).split(split)[index], strict=True):
                assert torch.equal(mine, its)
    assert data.reads == fit + 9 - fit


def same_as_from_its_source(kept):
    for index in range(6):
        for mine, its in zip(kept.split("train")[index], dataset(SHAPES, {}).split("train")[index], strict=True):
            assert torch.equal(mine, its)


def test_of_a_share_of_the_images_no_others_are_decoded_ahead():
    place, data = {"root": "a share"}, Counting()
    kept = in_memory(data, SHAPES, place, 10**9, share=0.5)
    assert data.reads == 3 + 3
    for index in chosen(6, 0.5):
        kept.split("train")[index]
    assert data.reads == 6
    same_as_from_its_source(kept)
    assert data.reads == 9
    # A smaller share is part of it; a larger one is not.
    assert in_memory(data, SHAPES, place, 10**9, share=0.2) is kept
    more = Counting()
    assert in_memory(more, SHAPES, place, 10**9) is not kept
    assert more.reads == 9


def test_memory_goes_to_the_images_that_a_trial_uses():
    place, limit = {"root": "a share that fits"}, 3 * SAMPLE
    whole = in_memory(Counting(), SHAPES, place, limit)
    data = Counting()
    kept = in_memory(data, SHAPES, place, limit, share=0.5)
    assert kept is not whole
    assert data.reads == 3
    for index in chosen(6, 0.5):
        kept.split("train")[index]
    assert data.reads == 3
    same_as_from_its_source(kept)


def test_another_data_set_takes_the_place_of_the_first():
    place = {"root": "replaced"}
    first = in_memory(Counting(), SHAPES, place, 10**9)
    other = Component.of("shapes", {"size": (32, 32), "train": 7, "val": 3})
    second = in_memory(Counting(other), other, place, 10**9)
    assert len(second.split("train")) == 7
    assert in_memory(Counting(), SHAPES, place, 10**9) is not first


def test_shares_are_of_labelled_training_pixels():
    kept = in_memory(Counting(), SHAPES, {"root": "shares"}, 3 * SAMPLE)
    labels = torch.stack([dataset(SHAPES, {}).split("train")[i][1] for i in range(6)])
    expected = torch.bincount(labels.flatten().int(), minlength=6).double() / labels.numel()
    assert torch.allclose(kept.shares, expected)
    assert float(kept.shares.sum()) == pytest.approx(1.0)


def test_wrong_files_are_reported_together(tmp_path: Path):
    for split in ("train", "val"):
        for index in range(13):
            for kind in ("images", "labels"):
                path = tmp_path / kind / split / f"{index:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                value = 9 if kind == "labels" and index != 4 else 0
                Image.fromarray(np.full((16, 16), value, np.uint8)).save(path)
    component, place = Component.of("folder", {"size": (16, 16), "classes": 2}), {"root": str(tmp_path)}
    with pytest.raises(DataError) as error:
        in_memory(dataset(component, place), component, place, 10**9)
    lines = str(error.value).splitlines()
    assert len(lines) == 11
    assert "found=[9]" in lines[0]
    assert "00.png" in lines[0]
    assert lines[-1] == "... and 2 more."


def test_a_data_set_that_breaks_its_promise_is_told_so():
    class Wrong(CountingSplit):
        def __getitem__(self, index):
            image, label = self._split[index]
            return image, label + 200 if index == 5 else label

    class WrongData(Counting):
        def split(self, name):
            return Wrong(self, self._data.split(name))

    with pytest.raises(DataError, match=r"shapes, split train, needs labels from 0 to 5.*sample=5, found=\[20"):
        in_memory(WrongData(), SHAPES, {"root": "wrong"}, 10**9)
