"""`nas sweep` as a person runs it: what it prints and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

TEXT = """
name: small
data: {shapes: {size: [32, 32], train: 16, val: 8}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  align: {bilinear: {channels: 16}}
training: {epochs: 1, batch: 8}
search: {sampler: random, trials: 2, early_stopping: none}
"""


@pytest.fixture
def nas(tmp_path):
    (tmp_path / "small.yaml").write_text(TEXT)

    def nas(*arguments):
        command = [sys.executable, "-m", "nas", *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return nas


@pytest.mark.slow
def test_a_sweep_prints_its_front_and_where_everything_lies(nas, tmp_path):
    done = nas("sweep", "small.yaml", "--runner", "local")
    assert done.returncode == 0, done.stderr
    assert "2 finished. Results: small in sqlite:///nas.db" in done.stdout
    assert "front of miou (max), macs (min)" in done.stdout
    assert "MACs" in done.stdout  # the picture's axis
    page = (tmp_path / "nas_runs" / "small" / "front.html").read_text()
    assert "<html" in page
    lines = done.stderr.splitlines()
    assert any(line.startswith("trial 0: epoch 1/1, mIoU 0.") for line in lines)
    assert any("2/2 done" in line for line in lines)
    rows = json.loads(nas("front", "small", "--format", "json").stdout)
    assert {"number", "miou", "macs", "backbone"} <= rows[0].keys()


def test_the_users_mistake_is_one_message_and_exit_2(nas):
    done = nas("sweep", "small.yaml", "--set", "search.sampler=nsga", "--set", "training.batch=yes")
    assert done.returncode == 2
    assert "Did you mean 'nsga" in done.stderr
    assert "batch" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_without_a_finished_trial_the_exit_code_is_1(nas):
    # Such a decay multiplies every weight by about -1000 a step.
    wild = "{epochs: 20, batch: 8, optimizer: sgd, learning_rate: 100, weight_decay: 10, warmup: 0, schedule: constant}"
    done = nas("sweep", "small.yaml", "--runner", "local", "--set", f"training={wild}")
    assert done.returncode == 1, done.stderr
    assert "2 failed" in done.stdout
    row = json.loads(nas("trials", "small", "--format", "json").stdout)[0]
    assert row["error"].startswith("diverged at step")


@pytest.mark.slow
def test_it_says_why_it_ended_early_and_how_to_go_on(nas):
    local = ("sweep", "small.yaml", "--runner", "local")
    limited = nas(*local, "--set", "search.epochs=1")
    assert limited.returncode == 0, limited.stderr
    assert "Ended early: search.epochs: 1 is used up; raise it and go on with --resume." in limited.stdout
    resumed = nas(*local, "--resume", "--set", "search.trials=5")
    assert "2 finished" in resumed.stdout
    assert "Ended early: the space is exhausted: all 2 networks in it are known." in resumed.stdout
    replayed = nas(*local, "--study", "again")
    assert "2 replayed" in replayed.stdout
    fresh = nas(*local, "--study", "fresh", "--fresh", "--hours", "1")
    assert "2 finished" in fresh.stdout


@pytest.mark.slow
def test_a_dry_run_measures_and_records_nothing(nas, tmp_path):
    done = nas("sweep", "small.yaml", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "hours" in done.stdout
    assert not (tmp_path / "nas.db").exists()
    assert not (tmp_path / "nas_runs").exists()
