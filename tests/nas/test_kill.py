"""Kill the driver, a worker or the raylet of a real sweep at random moments, resume, and ask the store what happened.

Every moment and victim follows from a seed, up to what the machine's load makes of "so many epochs later".
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest

from nas import Space, sweep
from nas.store import Store

EPOCHS, TRIALS = 6, 10
TEXT = f"""
name: killed
data: {{shapes: {{size: [32, 32], train: 288, val: 8}}}}
architecture:
  backbone: {{timm: {{model: {{choice: [test_resnet, test_efficientnet]}}}}}}
  context: {{choice: [none, psa]}}
  align: {{bilinear: {{channels: {{choice: [8, 16, 24]}}}}}}
  head: {{linear: {{dropout: 0.1}}}}
training: {{epochs: {EPOCHS}, batch: 8}}
search: {{sampler: random, trials: {TRIALS}, early_stopping: none}}
"""
VICTIMS = ("driver", "worker", "raylet")
CURVE = ("epoch", "loss", "miou", "pixel_accuracy", "class_iou", "learning_rate")
LIMIT_S = 400  # for whatever is waited for: far beyond what a busy machine needs

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
pytestmark = [pytest.mark.ray, linux]


class Sweep:
    """`nas sweep` in a session of its own, so that whatever it starts can be found and ended."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "nas.db"
        (file := folder / "killed.yaml").write_text(TEXT)
        resume = ["--resume"] if rows(self.store, "SELECT id FROM study") else []
        command = [sys.executable, "-m", "nas", "sweep", str(file), "--store", str(self.store), "--plain", *resume]
        self.log = folder / f"log-{time.time_ns()}.txt"
        with self.log.open("w") as log:
            self.driver = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, victim: str, chance: random.Random) -> bool:
        """SIGKILL one process of that kind; False where there is none."""
        found = [pid for pid, kind in session(self.driver.pid).items() if kind == victim]
        if not found or self.driver.poll() is not None:
            return False
        os.kill(chance.choice(sorted(found)), signal.SIGKILL)
        return True

    def end(self) -> int:
        """Wait for the driver, then end what a killed one leaves behind; return its exit code."""
        try:
            code = self.driver.wait(timeout=LIMIT_S)
        finally:
            until(lambda: not session(self.driver.pid, end=True), "processes outlived SIGKILL")
        return code


def session(leader: int, *, end: bool = False) -> dict[int, str]:
    """Living processes of a session: process id -> driver, worker, raylet or other; kill them to `end` it."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, sid = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, ValueError):
            continue  # it has just ended
        if int(sid) != leader or state == "Z":
            continue
        pid = int(folder.name)
        kinds = {"driver": pid == leader, "worker": name.startswith("ray::Res"), "raylet": "raylet/raylet " in name}
        found[pid] = next((kind for kind, is_it in kinds.items() if is_it), "other")
        if end:
            os.kill(pid, signal.SIGKILL)
    return found


def rows(store: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query gives; nothing while the tables are not there yet."""
    if not store.exists():
        return []
    with closing(sqlite3.connect(store, timeout=60)) as connection:
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError as error:
            assert "no such table" in str(error)
            return []


def until(condition: Any, otherwise: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def recorded(store: Path) -> dict[tuple[int, int], float]:
    """(trial, epoch) -> its seconds, which are another number whenever it is trained again."""
    return {(trial, epoch): s for trial, epoch, s in rows(store, "SELECT trial_id, epoch, seconds FROM epoch")}


def ended(store: Path) -> dict[int, tuple[Any, ...]]:
    query = "SELECT number, state, started, ended FROM trial WHERE state NOT IN ('proposed', 'running', 'interrupted')"
    return {number: facts for number, *facts in rows(store, query)}


def harry(folder: Path, seed: int, kills: int) -> dict[str, int]:
    """Run a sweep to its end while killing its processes; return who was killed how often."""
    chance = random.Random(seed)
    killed = dict.fromkeys(VICTIMS, 0)
    running = Sweep(folder)
    try:
        while sum(killed.values()) < kills:
            later, victim = chance.randrange(6), chance.choice(VICTIMS)
            before = len(recorded(running.store))
            until(lambda: gone(running) or len(recorded(running.store)) >= before + later, running.log.read_text)  # noqa: B023
            time.sleep(chance.random())
            if gone(running) and len(ended(running.store)) == TRIALS:
                break  # a fast machine was done first
            if not gone(running):
                killed[victim] += running.kill(victim, chance)
                if victim == "worker":
                    continue
            running = again(running)
        while running.end() != 0:
            running = again(running)
    finally:
        session(running.driver.pid, end=True)
        running.driver.wait()
    assert any(killed.values()), "the sweep was over before anything was killed"
    return killed


def gone(running: Sweep) -> bool:
    return running.driver.poll() is not None


def again(running: Sweep) -> Sweep:
    """Resume once the sweep has ended, and see that what it had recorded stands."""
    running.end()
    epochs, trials = recorded(running.store), ended(running.store)
    resumed = Sweep(running.store.parent)
    until(lambda: gone(resumed) or len(recorded(resumed.store)) > len(epochs), "no progress after resuming")
    kept = recorded(resumed.store)
    assert {key: kept.get(key) for key in epochs} == epochs, "a recorded epoch was trained again"
    assert {number: ended(resumed.store)[number] for number in trials} == trials, "an ended trial has changed"
    return resumed


def check(folder: Path, undisturbed: dict[str, list[tuple[Any, ...]]]) -> None:
    """What the store must show after any number of kills."""
    with Store.open(str(folder / "nas.db"), create=False) as store:
        study = store.find_study("killed")
        trials = store.trials(study["id"])
        assert [row["number"] for row in trials] == list(range(TRIALS))
        assert len({row["identity"] for row in trials}) == TRIALS
        told: dict[int, list[float] | None] = {}
        for row in trials:
            curve = [tuple(epoch[name] for name in CURVE) for epoch in store.epochs(row["id"])]
            # A trial whose worker was killed twice has failed, and that is final.
            whole = row["state"] == "finished" or (row["state"] == "failed" and row["retries"] != 1)
            assert row["state"] in {"finished", "failed"}
            expected = undisturbed[row["identity"]][: None if whole else len(curve)]
            assert curve == expected, f"trial {row['number']} differs from an undisturbed one"
            told[row["number"]] = [row["miou"], float(row["macs"])] if row["state"] == "finished" else None
        heard = optuna.load_study(study_name="killed", storage=store.url).trials
        assert len(heard) == TRIALS
        assert {trial.user_attrs["trial"]: trial.values for trial in heard} == told


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[Any, ...]]]:
    """Identity -> learning curve of every network of the space, trained one after another in this process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    space = Space.loads(TEXT, sets=["search.sampler=grid", "search.trials=12"])
    study = sweep(space, runner="local", store=str(folder / "nas.db"), folder=folder)
    with Store.open(study.url, create=False) as store:
        trials = store.trials(store.find_study("killed")["id"])
        return {
            row["identity"]: [tuple(epoch[name] for name in CURVE) for epoch in store.epochs(row["id"])]
            for row in trials
        }


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    left = [path for path in tmp_path.rglob(".checkpoint.pt.*") if path.stat().st_size == 0]
    assert not left


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_five_kills_lose_and_repeat_nothing(folder: Path, undisturbed: dict[str, list[tuple[Any, ...]]]) -> None:
    killed = harry(folder, seed=8, kills=5)
    assert all(killed.values()), killed
    check(folder, undisturbed)


@pytest.mark.kill
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", [2, 3, 6, 9])
def test_twenty_kills(folder: Path, undisturbed: dict[str, list[tuple[Any, ...]]], seed: int) -> None:
    harry(folder, seed=seed, kills=5)
    check(folder, undisturbed)


def test_the_curves_can_tell_two_networks_apart(undisturbed: dict[str, list[tuple[Any, ...]]]) -> None:
    assert len({str(curve) for curve in undisturbed.values()}) == len(undisturbed) == 12
