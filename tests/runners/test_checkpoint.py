import logging
import os
import random

import pytest
import torch

from blocks.errors import RunError
from runners import checkpoint

CPU = torch.device("cpu")


def load(path, identity="mine"):
    return checkpoint.load(path, identity=identity, device=CPU)


def test_what_is_saved_is_read_back(tmp_path):
    path = tmp_path / "new" / "checkpoint.pt"
    checkpoint.save(path, {"w": torch.arange(3), "epochs": [{"miou": 0.5, "iou": (0.1, None)}]}, identity="mine")
    state = load(path)
    assert torch.equal(state["w"], torch.arange(3))
    assert state["epochs"] == [{"miou": 0.5, "iou": (0.1, None)}]
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint.pt"]


def test_a_copy_stays_when_the_next_is_written(tmp_path):
    path = tmp_path / "checkpoint.pt"
    for epoch in (1, 2):
        checkpoint.save(path, {"epoch": epoch}, identity="mine", epoch_copy=f"epoch-{epoch:04d}.pt")
    assert [load(tmp_path / f"epoch-000{e}.pt")["epoch"] for e in (1, 2)] == [1, 2]
    assert load(path)["epoch"] == 2


def test_a_crash_while_writing_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"epoch": 1}, identity="mine")

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(RunError, match=r"a disk that takes it.*no space.*--resume"):
        checkpoint.save(path, {"epoch": 2}, identity="mine")
    assert load(path)["epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_the_one_before_stays_until_training_ends(tmp_path):
    path = tmp_path / "checkpoint.pt"
    for epoch in (1, 2, 3):
        checkpoint.save(path, {"epoch": epoch}, identity="mine")
    assert load(checkpoint.before_of(path))["epoch"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.before.pt", "checkpoint.pt"]
    checkpoint.save(path, {"epoch": 4}, identity="mine", last=True)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("damage", [b"", b"half of it", None])
def test_the_one_before_serves_where_the_last_does_not(tmp_path, caplog, damage):
    path = tmp_path / "checkpoint.pt"
    for epoch in (1, 2):
        checkpoint.save(path, {"epoch": epoch}, identity="mine")
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    assert load(path)["epoch"] == 1
    assert ("the one before is used" in caplog.text) == (damage is not None)
    checkpoint.save(path, {"epoch": 3}, identity="mine")
    assert load(path)["epoch"] == 3


def test_where_no_file_has_two_names_the_one_before_stays_all_the_same(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refused)
    path = tmp_path / "checkpoint.pt"
    for epoch in (1, 2, 3):
        checkpoint.save(path, {"epoch": epoch}, identity="mine")
    assert (load(path)["epoch"], load(checkpoint.before_of(path))["epoch"]) == (3, 2)


def test_where_room_is_short_the_one_before_goes_first(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    for epoch in (1, 2):
        checkpoint.save(path, {"epoch": epoch}, identity="mine")
    before, real = checkpoint.before_of(path), os.fsync

    def short(number):
        if before.exists():
            raise OSError(28, "No space left on device")
        real(number)

    monkeypatch.setattr(os, "fsync", short)
    checkpoint.save(path, {"epoch": 3}, identity="mine")
    assert load(path)["epoch"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_none_is_no_news(tmp_path, caplog):
    assert load(tmp_path / "checkpoint.pt") is None
    assert not caplog.records


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "other"])
def test_a_damaged_one_is_a_warning(tmp_path, caplog, damage):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"w": torch.zeros(1000)}, identity="mine")
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "noise": os.urandom(999)}.get(damage, whole))
    if damage == "other":
        torch.save([1, 2, 3], path)
    with caplog.at_level(logging.WARNING, logger="nas"):
        assert load(path) is None
    assert "is damaged, training starts again" in caplog.text


def test_no_noise_passes_for_a_checkpoint_or_ends_the_trial(tmp_path):
    path = tmp_path / "checkpoint.pt"
    noise = random.Random(0)
    for _ in range(300):
        path.write_bytes(noise.randbytes(99))
        assert load(path) is None


def test_that_of_another_result_is_refused(tmp_path, caplog):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {}, identity="theirs")
    with caplog.at_level(logging.WARNING, logger="nas"):
        assert load(path) is None
    assert "another result (theirs)" in caplog.text


class Code:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


def test_a_checkpoint_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoint.pt"
    torch.save({"version": 1, "identity": "mine", "code": Code()}, path)
    assert load(path) is None
    assert not (tmp_path / "ran").exists()
