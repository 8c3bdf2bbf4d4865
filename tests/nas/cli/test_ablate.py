"""`nas ablate`, `nas table` and `nas train` as a person runs them: real data, real training; small, so that they end."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from typing import NamedTuple

import pytest

from nas.cli import main

TEXT = """
name: two
data: {shapes: {size: [64, 64], train: 16, val: 8}}
architecture:
  backbone: {timm: {model: test_resnet}}
  context: {choice: [none, psa]}
  align: {bilinear: {channels: 16}}
training: {epochs: 1, batch: 8}
search: {early_stopping: {pareto_asha: {grace: 1}}}
ablation: {design: one_at_a_time, baseline: {context: none}, seeds: 3}
"""
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def nas(tmp_path, monkeypatch, capsys):
    """The command line in this process, which has imported everything once."""
    (tmp_path / "two.yaml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)

    def nas(*arguments):
        monkeypatch.setattr(sys, "argv", ["nas", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(ended.value.code or 0, *capsys.readouterr())

    return nas


def rows(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "nas.db", timeout=10)) as connection:
        return connection.execute(
            "SELECT number, arm, seed, state, epochs, ended FROM trial ORDER BY number"
        ).fetchall()


@pytest.mark.slow
def test_an_ablation_is_trained_stopped_resumed_and_tabled(nas, tmp_path):
    begun = nas("ablate", "two.yaml", "--runner", "local", "--set", "search.epochs=2")
    assert begun.returncode == 0, begun.stderr
    assert "Ended early: search.epochs: 2 is used up" in begun.stdout
    assert "no test is possible" in begun.stdout
    first = rows(tmp_path)
    assert [row[1:4] for row in first] == [("baseline", 0, "finished"), ("context=psa", 0, "finished")]
    done = nas("ablate", "two.yaml", "--runner", "local", "--resume")
    assert done.returncode == 0, done.stderr
    assert "6 finished. Results: two in sqlite:///nas.db (nas table two, nas trials two)" in done.stdout
    whole = rows(tmp_path)
    assert whole[:2] == first, "a recorded result was trained again"
    assert [row[1:4] for row in whole] == [
        (arm, seed, "finished") for seed in range(3) for arm in ("baseline", "context=psa")
    ]
    table = list(csv.DictReader(io.StringIO(nas("table", "two", "--format", "csv").stdout)))
    assert [(row["arm"], row["context"], row["n"]) for row in table] == [
        ("baseline", "none", "3"),
        ("context=psa", "psa", "3"),
    ]
    assert float(table[1]["difference_low"]) < float(table[1]["miou_difference"]) < float(table[1]["difference_high"])
    assert r"\toprule" in nas("table", "two", "--format", "latex").stdout
    replayed = nas("ablate", "two.yaml", "--runner", "local", "--study", "again", "--seeds", "2")
    assert "4 replayed" in replayed.stdout
    assert nas("sweep", "two.yaml", "--resume", "--runner", "local").returncode == 2


@pytest.mark.slow
def test_a_killed_ablation_repeats_nothing(nas, tmp_path):
    options = ("ablate", "two.yaml", "--runner", "local", "--set", "training.epochs=3")
    driver = subprocess.Popen(
        [sys.executable, "-m", "nas", *options], cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )
    try:
        while sum(row[3] == "finished" for row in found(tmp_path)) < 2:
            assert driver.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    before = [row for row in rows(tmp_path) if row[3] == "finished"]
    done = nas(*options, "--resume")
    assert done.returncode == 0, done.stderr
    after = rows(tmp_path)
    assert after[: len(before)] == before
    assert [row[3:5] for row in after] == [("finished", 3)] * 6


def found(tmp_path):
    with contextlib.suppress(sqlite3.OperationalError):
        return rows(tmp_path)
    return []


@pytest.mark.ray
def test_an_ablation_on_ray(nas, tmp_path):
    done = nas("ablate", "two.yaml", "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert {(row[1], row[2], row[3]) for row in rows(tmp_path)} == {
        ("baseline", 0, "finished"),
        ("context=psa", 0, "finished"),
    }


@pytest.mark.slow
def test_early_stopping_is_for_who_asks(nas, tmp_path):
    # Four arms would do for a rung; with the flag the worse of them stop there.
    wide = [
        "--set",
        "architecture.align={bilinear: {channels: {choice: [8, 16, 24, 32]}}}",
        "--set",
        "training.epochs=3",
    ]
    design = ["--design", "factorial", "--seeds", "1", "--runner", "local"]
    stopped = nas("ablate", "two.yaml", *wide, *design, "--early-stopping")
    assert stopped.returncode == 0, stopped.stderr
    assert "stopped" in {row[3] for row in rows(tmp_path)}
    whole = nas("ablate", "two.yaml", *wide, *design, "--study", "whole")
    assert whole.returncode == 0, whole.stderr
    states = {row["state"] for row in json.loads(nas("trials", "whole", "--format", "json").stdout)}
    assert "stopped" not in states
    assert states <= {"finished", "replayed"}


def test_a_dry_run_prints_arms_differences_and_costs_and_records_nothing(nas, tmp_path):
    done = nas("ablate", "two.yaml", "--dry-run", "--set", "budget.params=390e3")
    assert done.returncode == 0, done.stderr
    assert "context: none -> psa" in done.stdout
    assert "params over 390 k" in done.stdout
    assert "2 arms x 3 seeds (0 to 2): 6 trainings, 6 epochs." in done.stdout
    assert not (tmp_path / "nas.db").exists()


def test_the_users_mistakes_are_one_message_and_exit_2(nas):
    for arguments, said in (
        (("ablate", "two.yaml", "--set", "ablation.baseline={context: pza}"), "Did you mean 'psa'?"),
        (("ablate", "quickstart", "--dry-run"), "needs a section `ablation:`"),
        (("train", "two.yaml"), "questions='context'"),
        (("table", "two", "--format", "tex", "--store", "nowhere.db"), "--format needs one of"),
        (("table", "two", "--store", "nowhere.db"), "nowhere.db"),
    ):
        done = nas(*arguments)
        assert done.returncode == 2, (arguments, done.stdout)
        assert said in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_one_network_is_trained_with_several_seeds_and_more_later(nas, tmp_path):
    one = ("train", "two.yaml", "--set", "architecture.context=psa", "--runner", "local")
    done = nas(*one)
    assert done.returncode == 0, done.stderr
    assert "1 finished. Results: two in sqlite:///nas.db (nas show two 0, nas trials two)" in done.stdout
    more = nas(*one, "--resume", "--seeds", "3")
    assert "3 finished" in more.stdout
    assert [row[1:4] for row in rows(tmp_path)] == [(None, seed, "finished") for seed in range(3)]
    (row,) = json.loads(nas("table", "two", "--format", "json").stdout)
    assert (row["arm"], row["n"]) == ("trial 0", 3)
