"""Where nothing can be written: a clear error, the sweep stops, and what was recorded stays readable."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.errors import StoreError
from nas import Study
from nas.store import Store

TEXT = """
name: full
data: {shapes: {size: [32, 32], train: 8, val: 4}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  align: {bilinear: {channels: {int: [8, 64]}}}
training: {epochs: 2, batch: 8}
search: {sampler: random, trials: 40, early_stopping: none}
"""
# Stands for a disk that is full: from so many bytes on, a file does not grow.
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.argv[:2] = ["nas"]
from nas.cli import main
main()
"""


def nas(folder: Path, *words: str, most: int | None = None) -> subprocess.CompletedProcess[str]:
    (folder / "full.yaml").write_text(TEXT)
    start = [sys.executable, "-c", LIMITED, str(most)] if most else [sys.executable, "-m", "nas"]
    command = [*start, *words, "--store", str(folder / "nas.db")]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )


def sweep(folder: Path, *more: str, most: int | None = None) -> subprocess.CompletedProcess[str]:
    return nas(folder, "sweep", "full.yaml", "--runner", "local", "--plain", *more, most=most)


@pytest.mark.slow
def test_a_store_that_cannot_grow_ends_the_sweep(tmp_path: Path) -> None:
    # Checkpoints would meet the limit first; the write-ahead log meets it after a few trials.
    done = sweep(tmp_path, "--set", "resources.keep=none", most=2_000_000)
    assert done.returncode == 2, done.stderr
    assert "The store needs a database that can be read and written" in done.stderr
    assert "Traceback" not in done.stderr

    study = Study("full", str(tmp_path / "nas.db"))
    before = study.counts()
    assert before["finished"] >= 1
    again = sweep(tmp_path, "--resume", "--set", f"search.trials={before['finished'] + 1}")
    assert again.returncode == 0, again.stderr
    assert study.counts() == {"finished": before["finished"] + 1}


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_checkpoint_that_cannot_be_written_ends_the_sweep_and_fails_no_trial(tmp_path: Path, runner: str) -> None:
    (tmp_path / "nas_runs").mkdir()
    (tmp_path / "nas_runs" / "full").write_text("a file where a folder should be")
    done = nas(tmp_path, "sweep", "full.yaml", "--runner", runner, "--plain", "--set", "search.trials=2")
    assert done.returncode == 2, done.stderr
    assert "A checkpoint needs a disk that takes it" in done.stderr
    assert set(Study("full", str(tmp_path / "nas.db")).counts()) == {"interrupted"}
    (tmp_path / "nas_runs" / "full").unlink()
    assert sweep(tmp_path, "--resume", "--set", "search.trials=2").returncode == 0
    assert Study("full", str(tmp_path / "nas.db")).counts() == {"finished": 2}


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder with a store in it that nobody can write to, whoever we are."""
    folder = tmp_path / "read_only"
    folder.mkdir()
    as_root = os.geteuid() == 0
    if (
        as_root
        and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)], check=False).returncode
    ):
        pytest.skip("root may write anywhere, and may not mount here")
    try:
        with Store.open(str(folder / "nas.db")) as store:
            store.create_study("full", space=TEXT, objectives={"miou": "max", "macs": "min"}, budget={}, seed=0)
        if as_root:
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        else:
            (folder / "nas.db").chmod(0o400)
            folder.chmod(0o500)
        yield folder
    finally:
        if as_root:
            subprocess.run(["umount", str(folder)], check=True)
        else:
            folder.chmod(0o700)


def test_a_read_only_store_can_be_read_and_not_swept_into(read_only: Path, tmp_path: Path) -> None:
    with Store.open(str(read_only / "nas.db"), create=False) as store:
        assert [row["name"] for row in store.studies()] == ["full"]
        with pytest.raises(StoreError, match="read and written"):
            store.record_provenance(1, {})
    with pytest.raises(StoreError, match=r"(opened|written).*(readonly|unable)"):
        Store.open(str(read_only / "nas.db"))
