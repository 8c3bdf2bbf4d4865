"""Whole sweeps: real data, real training, real Ray; small, so that they end."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest
from PIL import Image

from blocks.errors import RunError, SpaceError, StoreError
from nas import Space, Study, sweep
from nas.propose import Progress

TEXT = """
name: small
data: {shapes: {size: [32, 32], train: 16, val: 8}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  context: {choice: [none, psa]}
  align: {bilinear: {channels: 16}}
training: {epochs: EPOCHS, batch: 8}
search: {sampler: random, trials: 4, early_stopping: none}
"""
SPACE = TEXT.replace("EPOCHS", "1")


@pytest.fixture
def run(tmp_path):
    def run(text=SPACE, *sets, **more):
        space = Space.loads(text, sets=sets)
        options = {"runner": "local", "store": str(tmp_path / "nas.db"), "folder": tmp_path / "runs"} | more
        return sweep(space, **options)

    return run


def test_a_sweep_ends_with_a_front(run, tmp_path):
    study = run()
    assert study.counts() == {"finished": 4}
    front = study.front()
    assert 1 <= len(front) <= 4
    assert front["macs"].is_monotonic_increasing
    assert front["miou"].is_monotonic_increasing
    assert len(study.epochs(0)) == 1
    copied = optuna.load_study(study_name="small", storage=study.url)
    assert Counter(trial.state.name for trial in copied.trials) == {"COMPLETE": 4}
    tables = {row[0] for row in sqlite3.connect(tmp_path / "nas.db").execute("SELECT name FROM sqlite_master")}
    assert {"study", "architecture", "cost", "choice", "trial", "epoch", "provenance"} <= tables


def test_a_folder_of_images_is_swept(run, tmp_path):
    chance = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind, shape, values in (("images", (32, 48, 3), 255), ("labels", (32, 48), 5)):
            (tmp_path / "data" / kind / split).mkdir(parents=True)
            for number in range(4):
                pixels = chance.integers(0, values, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / kind / split / f"{number}.png")
    data = f"data: {{folder: {{root: {tmp_path / 'data'}, size: [32, 48], classes: 5}}}}"
    study = run(SPACE.replace("data: {shapes: {size: [32, 32], train: 16, val: 8}}", data), "search.trials=1")
    assert study.counts() == {"finished": 1}


def test_a_study_that_exists_is_not_overwritten(run):
    run()
    with pytest.raises(StoreError, match=r"exists with 4 trials, 4 of them finished.*--resume"):
        run()


@pytest.mark.slow
def test_more_trials_on_resume(run):
    assert run(SPACE, "search.trials=2").counts() == {"finished": 2}
    assert run(SPACE, "search.trials=4", "resources.loaders=1", resume=True).counts() == {"finished": 4}


@pytest.mark.slow
def test_what_is_in_the_edited_space_counts_and_the_rest_stays(run):
    first = run().trials().set_index("number")
    said = []
    progress = Progress(3, say=said.append)
    # `context` has one choice less; `channels`, which was fixed, is asked.
    edited = SPACE.replace("choice: [none, psa]", "choice: [none]").replace(
        "channels: 16", "channels: {choice: [8, 16]}"
    )
    study = run(edited, "search.trials=3", resume=True, progress=progress)
    assert said[0] == "the space was edited: 2 of 4 recorded trials are in it, the others do not count"
    rows = study.trials().set_index("number")
    assert list(rows["outside"]) == [context != "none" for context in first["context"]] + [False]
    assert (rows.loc[range(4), "ended"] == first["ended"]).all(), "a recorded result was trained again"
    assert set(rows["state"]) == {"finished"}
    assert set(study.front()["context"]) == {"none"}
    # Resumed once more, nothing is left to do; edited back, everything counts again.
    assert len(run(edited, "search.trials=3", resume=True).trials()) == 5
    wide = SPACE.replace("channels: 16", "channels: {choice: [8, 16]}")
    assert not run(wide, "search.trials=5", resume=True).trials()["outside"].any()


@pytest.mark.slow
def test_a_budget_that_was_lowered_leaves_results_outside(run):
    macs = run().trials()["macs"]
    rows = run(SPACE, f"budget.macs={macs.median()}", "search.trials=2", resume=True).trials()
    assert list(rows["outside"]) == list(macs > macs.median())
    assert len(rows) == 4


def test_a_space_with_nothing_in_common_is_no_edit(run):
    run(SPACE, "search.trials=1")
    with pytest.raises(SpaceError, match="none of its 1 trials"):
        run(SPACE, "training.learning_rate=0.5", resume=True)
    with pytest.raises(SpaceError, match="objectives"):
        run(SPACE, "objectives={miou: max, params: min}", resume=True)


def test_resuming_what_does_not_exist_is_an_error(run):
    with pytest.raises(StoreError, match="--resume"):
        run(resume=True)


@pytest.mark.slow
def test_keep_front_drops_the_checkpoints_that_left_it(run, tmp_path):
    study = run(SPACE, "resources.keep=front")
    kept = {int(folder.name) for folder in (tmp_path / "runs" / "small").iterdir()}
    assert kept == set(study.front()["number"])


@pytest.mark.ray
def test_what_would_fail_every_trial_ends_the_sweep(run):
    # float16 needs CUDA's loss scaling: the first worker finds out, and nobody waits for the others.
    with pytest.raises(RunError, match="float16"):
        run(SPACE, "training.precision=float16", runner="ray")


@pytest.mark.ray
def test_a_budget_that_nothing_fits_ends_a_sweep_on_ray(run):
    with pytest.raises(RunError, match=r"budget\.macs is 10, the least"):
        run(SPACE, "budget.macs=10", runner="ray")
    with pytest.raises(RunError, match=r"budget\.latency_ms is 1e-06, the least"):
        run(SPACE, "budget.latency_ms=1e-6", "search.seed=1", study="measured", runner="ray")


@pytest.mark.ray
def test_ray_trains_the_same_as_this_process(run):
    # Two threads or one, actor or no actor: the numbers are those of the recipe.
    study = run(runner="ray", store=None or str(run().url) + ".ray")
    local = run(resume=True)
    ours = local.trials().set_index("fingerprint")["miou"].to_dict()
    assert study.trials().set_index("fingerprint")["miou"].to_dict() == pytest.approx(ours, abs=1e-6)


def command(tmp_path: Path, *more: str) -> list[str]:
    space = tmp_path / "small.yaml"
    space.write_text(TEXT.replace("EPOCHS", "6").replace("train: 16", "train: 64"))
    return [sys.executable, "-m", "nas", "sweep", str(space), "--store", str(tmp_path / "nas.db"), *more]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def finish(command: list[str], folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)


def until_epochs(store: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until the store has so many epochs."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr and process.stderr.read()
        if store.exists():
            try:
                if sqlite3.connect(store).execute("SELECT count(*) FROM epoch").fetchone()[0] >= count:
                    return
            except sqlite3.OperationalError:
                pass  # its tables are about to be made
        time.sleep(0.1)
    pytest.fail(f"no {count} epochs within 300 s")


@pytest.mark.ray
@pytest.mark.slow
def test_kill_9_and_resume_account_for_every_trial_exactly_once(tmp_path):
    store = tmp_path / "nas.db"
    with subprocess.Popen(
        command(tmp_path), cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment()
    ) as first:
        # Of two at once, six epochs each: with the thirteenth a third is in training, and one has ended.
        until_epochs(store, 13, first)
        first.send_signal(signal.SIGKILL)
    before = Study("small", str(store)).trials()
    finished = before[before["state"] == "finished"].set_index("number")
    assert 1 <= len(finished) < 4
    done = finish(command(tmp_path, "--resume"), tmp_path, environment())
    assert done.returncode == 0, done.stderr
    after = Study("small", str(store)).trials()
    assert sorted(after["number"]) == [0, 1, 2, 3]
    assert set(after["state"]) == {"finished"}
    assert after["fingerprint"].is_unique
    assert all(epochs == 6 for epochs in after["epochs"])
    again = after.set_index("number").loc[finished.index]
    assert (again["ended"] == finished["ended"]).all(), "a finished trial was trained again"


@pytest.mark.ray
@pytest.mark.slow
def test_one_sigint_ends_in_order(tmp_path):
    store = tmp_path / "nas.db"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command(tmp_path), cwd=tmp_path, env=environment(), **pipes) as process:
        until_epochs(store, 8, process)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Results:" in out
    states = Counter(Study("small", str(store)).trials()["state"])
    assert states["interrupted"] >= 1
    assert not set(states) & {"running", "proposed"}


@pytest.mark.ray
def test_an_address_where_nobody_listens_is_refused_at_once(run):
    with pytest.raises(RunError, match="a Ray cluster that answers"):
        run(runner="ray", address="127.0.0.1:9")


@pytest.mark.ray
@pytest.mark.slow
def test_a_running_cluster_is_joined_and_left_running(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # The variable keeps Ray on loopback; a cluster of several machines does without.
    loopback = environment() | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    start = ["start", "--head", "--block", f"--port={port}", "--num-cpus=1", "--include-dashboard=false"]
    # Short, because Ray puts Unix sockets inside.
    with tempfile.TemporaryDirectory(prefix="nas-", ignore_cleanup_errors=True) as scratch:
        ray = [sys.executable, "-m", "ray.scripts.scripts", *start, f"--temp-dir={scratch}"]
        with subprocess.Popen(ray, env=loopback, stdout=subprocess.PIPE, text=True) as head:
            try:
                assert head.stdout is not None
                assert any("Ray runtime started" in line for line in head.stdout)
                sets = ["--set", "training.epochs=1", "--set", "search.trials=2", "--address", f"127.0.0.1:{port}"]
                done = finish(command(tmp_path, *sets), tmp_path, loopback)
                assert done.returncode == 0, done.stderr
                assert "2 finished" in done.stdout
                assert head.poll() is None
            finally:
                head.terminate()
