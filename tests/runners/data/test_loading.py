"""Batches that are made ahead: the same ones in the same order, and nothing left running."""

import threading
import time
from contextlib import closing

import pytest
import torch

from blocks.architecture import Component
from blocks.errors import DataError
from runners.data import dataset
from runners.data.batches import plain_batches, training_batches
from runners.data.contract import UnreadableError
from runners.data.loading import ahead
from runners.training import Training

SPLIT = dataset(Component.of("shapes", {"size": (16, 16), "train": 11, "val": 5}), {}).split("train")


class Damaged:
    """A split of which some samples cannot be read, or are wrong; as long as is said, so that these are few."""

    def __init__(self, *, bad=(), wrong=(), count=200):
        self.bad, self._wrong, self._count = set(bad), set(wrong), count

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        if index in self.bad:
            raise UnreadableError(f"file {index} is cut off")
        if index in self._wrong:
            raise DataError(f"labels of {index} are wrong")
        image, label = SPLIT[index % len(SPLIT)]
        return torch.full_like(image, index), label


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("nas-data")]


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_their_keys(workers):
    def make(key):
        time.sleep(0.02 if key % 3 == 0 else 0)
        return key

    assert list(ahead(make, range(20), threads=workers)) == list(range(20))
    assert threads() == []


def test_no_more_is_made_than_is_soon_needed():
    made = []
    running = ahead(lambda key: made.append(key) or key, iter(range(1000)), threads=2)
    assert [next(running) for _ in range(3)] == [0, 1, 2]
    running.close()
    assert len(made) <= 7
    assert threads() == []


def test_an_error_comes_where_its_result_would_have():
    def make(key):
        if key == 4:
            raise DataError("the fourth")
        return key

    seen = []
    with pytest.raises(DataError, match="the fourth"):
        for key in ahead(make, range(20), threads=2):
            seen.append(key)
    assert seen == [0, 1, 2, 3]
    assert threads() == []


def test_a_trial_that_ends_in_the_middle_leaves_no_thread():
    _, batches = training_batches(SPLIT, Training(batch=2), 0, loaders=0, pin=False)
    with pytest.raises(KeyboardInterrupt), closing(iter(batches)) as made:
        next(made)
        assert threads()
        raise KeyboardInterrupt
    assert threads() == []


def test_threads_do_not_change_how_many_torch_has_here():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        _, batches = training_batches(SPLIT, Training(batch=2), 0, loaders=0, pin=False)
        for _ in batches:
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def batches_of(split, loaders, epoch=1, batch=4):
    order, batches = training_batches(
        split, Training(batch=batch), 3, loaders=loaders, pin=False, subject="Split train,"
    )
    order.epoch = epoch
    return list(batches), batches.unreadable


@pytest.mark.parametrize("loaders", [0, 2])
def test_the_next_sample_stands_in_for_one_that_cannot_be_read(loaders, caplog):
    whole, none = batches_of(Damaged(), 0)
    found, unreadable = batches_of(Damaged(bad=[7, 199]), loaders)
    assert len(none) == 0
    assert len(unreadable) == 2
    assert str(unreadable) == "Split train, 2 of 200 images cannot be read and are replaced"
    assert len(found) == len(whole) == 50
    differ = sum(
        not torch.equal(a, b)
        for one, two in zip(found, whole, strict=True)
        for a, b in zip(one[0], two[0], strict=True)
    )
    assert differ == 2
    assert all(len(images) == 4 for images, _ in found)
    assert sorted(record.getMessage() for record in caplog.records) == [
        "replaced: file 199 is cut off",
        "replaced: file 7 is cut off",
    ]


def test_the_stand_in_is_the_next_one_varied_as_the_lost_one_would_have_been():
    alone = Training(batch=200, jitter=0.0, scale=(1.0, 1.0))

    def colours(split):
        _, batches = training_batches(split, alone, 3, loaders=0, pin=False)
        ((images, _),) = list(batches)
        return images[:, 0, 0, 0].tolist()

    whole, found = colours(Damaged()), colours(Damaged(bad=[7, 8]))
    assert found == [{7: 9, 8: 9}.get(colour, colour) for colour in whole]


def test_which_stand_in_is_taken_does_not_depend_on_who_loads():
    none, _ = batches_of(Damaged(bad=[0, 64]), 0, batch=16)
    two, _ = batches_of(Damaged(bad=[0, 64]), 2, batch=16)
    assert all(torch.equal(a, b) for one, other in zip(none, two, strict=True) for a, b in zip(one, other, strict=True))


def test_a_file_is_named_once_however_many_epochs(caplog):
    order, batches = training_batches(Damaged(bad=[7]), Training(batch=4), 3, loaders=0, pin=False)
    for epoch in (1, 2, 3):
        order.epoch = epoch
        list(batches)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("loaders", [0, 2])
def test_more_than_one_in_a_hundred_is_an_error(loaders):
    with pytest.raises(DataError, match=r"Split train, needs at most 1% .*unreadable=3, images=200") as error:
        batches_of(Damaged(bad=[7, 8, 9]), loaders)
    assert "Traceback" not in str(error.value)
    assert len(error.value.problems) == 3


@pytest.mark.parametrize("loaders", [0, 2])
def test_wrong_labels_are_an_error_as_ever(loaders):
    with pytest.raises(DataError) as error:
        batches_of(Damaged(wrong=[7]), loaders)
    assert str(error.value) == "labels of 7 are wrong"


@pytest.mark.parametrize("loaders", [0, 2])
def test_evaluation_leaves_it_out(loaders, caplog):
    batches = plain_batches(Damaged(bad=[4, 5]), 2, loaders=loaders, pin=False, subject="Split val,")
    for _ in range(2):
        seen = [colour for images, _ in batches for colour in images[:, 0, 0, 0].tolist()]
        assert seen == [index for index in range(200) if index not in {4, 5}]
    assert str(batches.unreadable) == "Split val, 2 of 200 images cannot be read and are left out"
    assert len(caplog.records) == 2
