"""How long a front takes in a store with a million trials, and how much memory.

A synthetic study is written into a temporary folder: every trial has an architecture, costs, a protocol and three
recorded options of its own; mIoU grows with the logarithm of the MACs and scatters; seven in ten finished. Then
`nas front` and its variants run as commands, each in a process of its own, start-up included; what start-up alone takes
is shown, too. Beside them: pandas on the same rows, read with one query, and `study.best_trials` of Optuna on as many
trials as are asked for, held in memory. The best of some rounds counts; memory is the greatest of all rounds.

    python -m benchmarks.store [--trials 1000000] [--rounds 3] [--optuna 10000] [--store FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from nas.store import Store

STUDY = "synthetic"
Row = dict[str, object]
OBJECTIVES = {"miou": "max", "macs": "min"}
CONTEXTS = ("none", "ppm", "aspp", "psa", "ocr", "danet", "cgr", "isa")
BACKBONES = ("resnet18", "resnet50", "mobilenetv3_small_100", "convnext_tiny", "stdc1")
HEADS = ("linear", "ssa")
STATES = ("finished",) * 70 + ("stopped",) * 20 + ("rejected",) * 5 + ("failed",) * 5
BATCH = 20_000
PROTOCOL = json.dumps({"data": {"name": "synthetic"}, "training": {f"setting_{n}": 1.0 / (n + 1) for n in range(40)}})
CANONICAL = json.dumps({"backbone": {"name": "timm", "options": {f"option_{n}": n for n in range(30)}}})


def make(file: Path, trials: int, *, seed: int = 0) -> None:
    """Write a store with one study of so many trials, in bulk."""
    with Store.open(str(file)) as store:
        study = store.create_study(STUDY, space=f"name: {STUDY}", objectives=OBJECTIVES, budget={}, seed=seed)
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    draw = random.Random(seed)
    for first in range(1, trials + 1, BATCH):
        rows: dict[str, list[Row]] = {"architecture": [], "cost": [], "trial": [], "choice": []}
        for number in range(first, min(first + BATCH, trials + 1)):
            _add(rows, number, study, draw)
        connection.execute("BEGIN")
        for table, values in rows.items():
            names = list(values[0])
            marks = ", ".join(f":{name}" for name in names)
            connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", values)
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _add(rows: dict[str, list[Row]], number: int, study: int, draw: random.Random) -> None:
    """One trial with all that belongs to it."""
    macs = int(10 ** draw.uniform(8.5, 11.5))
    params = int(macs**0.7 * draw.uniform(0.5, 2))
    context, head = draw.choice(CONTEXTS), draw.choice(HEADS)
    slots = {
        "backbone": draw.choice(BACKBONES),
        "context": context,
        "align": "bilinear",
        "refine": "none",
        "head": head,
    }
    rows["architecture"].append({"id": number, "fingerprint": f"a{number:015x}", **slots, "canonical": CANONICAL})
    size = {"height": 512, "width": 1024, "classes": 19, "image_channels": 3}
    figures = {"params": params, "macs": macs, "macs_conv": macs, "activation_bytes": params * 4}
    rows["cost"].append({"id": number, "architecture_id": number, **size, **figures})
    state = draw.choice(STATES)
    trained = state in ("finished", "stopped")
    miou = min(max(0.8 * (1 - math.exp(-(math.log10(macs) - 8) / 1.2)) + draw.gauss(-0.1, 0.05), 0.01), 0.99)
    rows["trial"].append(
        {
            "id": number,
            "study_id": study,
            "number": number - 1,
            "state": state,
            "identity": f"i{number:015x}",
            "architecture_id": number,
            "cost_id": number,
            "protocol_fingerprint": f"p{number % 50:015x}",
            "seed": number % 3,
            "origin": "sampler",
            "repeats": 0,
            "miou": miou if trained else None,
            "miou_best": miou if trained else None,
            "pixel_accuracy": miou**0.5 if trained else None,
            "epochs": {"finished": 40, "stopped": 10}.get(state, 0),
            "epochs_planned": 40,
            "retries": 0,
            "accumulation": 1,
            "outside": 0,
            "latency_ms": macs / 1e9 * draw.uniform(0.5, 2),
            "train_seconds": 40 * draw.uniform(20, 60),
            "created": "2026-11-21 00:00:00.000000",
            "ended": "2026-11-21 01:00:00.000000" if trained else None,
            "host": "node1",
            "device": "cuda:0",
            "class_iou": json.dumps([round(miou * draw.random(), 4) for _ in range(19)]) if trained else None,
            "answers": json.dumps({"context": context, "head": head}),
            "protocol": PROTOCOL,
            "log": "",
        }
    )
    rate = 10 ** draw.uniform(-5, -1)
    options = (("context", context, None), ("head", head, None), ("training.learning_rate", str(rate), rate))
    for path, value, amount in options:
        rows["choice"].append({"trial_id": number, "path": path, "value": value, "number": amount})


QUESTIONS = {
    "start-up (nas --help)": ["--help"],
    "front": ["front", STUDY, "--no-picture"],
    "front, drawn": ["front", STUDY],
    "front where context == 'ppm'": ["front", STUDY, "--no-picture", "--where", "context == 'ppm'"],
    "front where two options and a cost": [
        *("front", STUDY, "--no-picture", "--where"),
        "training.learning_rate < 1e-3 and head == 'ssa' and params < 1e8",
    ],
    "front of three objectives": [
        *("front", STUDY, "--no-picture", "--objective", "miou", "--objective", "macs", "--objective", "params"),
    ],
    "best under each of two limits": ["front", STUDY, "--under", "macs=5e9", "--under", "params=1e7"],
}

PANDAS = """
import sqlite3, sys, time
began = time.perf_counter()
import pandas as pd
query = (
    "SELECT trial.number, trial.miou, cost.macs FROM trial JOIN cost ON trial.cost_id = cost.id "
    "WHERE trial.state IN ('finished', 'replayed') AND trial.miou IS NOT NULL"
)
frame = pd.read_sql(query, sqlite3.connect(sys.argv[1])).sort_values(["macs", "miou"], ascending=[True, False])
front = frame[frame.miou > frame.miou.cummax().shift(fill_value=-1.0)]
print(len(front))
"""

OPTUNA = """
import random, sys, time
import optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
draw = random.Random(0)
study = optuna.create_study(directions=["maximize", "minimize"])
values = ((draw.random(), draw.random()) for _ in range(int(sys.argv[1])))
study.add_trials([optuna.trial.create_trial(values=pair) for pair in values])
began = time.perf_counter()
study.best_trials
print(time.perf_counter() - began)
"""


class Measured(NamedTuple):
    """One question.

    Args:
        seconds: of the best round, the whole process. [s]
        processor: what it computed in that time, without waiting for a machine that others use. [s]
        megabytes: resident at the most. [MB]
        said: what the process printed.
    """

    seconds: float
    processor: float
    megabytes: float
    said: str


def measured(command: list[str], file: Path, rounds: int) -> Measured:
    """Run a command some times, each in a process of its own."""
    seconds, processor, most, said = math.inf, math.inf, 0, ""
    for _ in range(rounds):
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | {"NAS_STORE": str(file)}
        )
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command} failed")
        seconds = min(seconds, time.perf_counter() - began)
        processor = min(processor, usage.ru_utime + usage.ru_stime)
        most = max(most, usage.ru_maxrss)
    return Measured(seconds, processor, most / (1e6 if sys.platform == "darwin" else 1e3), said)


def compare(file: Path, trials: int, rounds: int, optuna: int) -> None:
    """Print a line for each question."""
    print(f"{trials:,} trials, {file.stat().st_size / 1e9:.2f} GB")
    found = {name: measured([sys.executable, "-m", "nas", *words], file, rounds) for name, words in QUESTIONS.items()}
    found["pandas, the same front"] = measured([sys.executable, "-c", PANDAS, str(file)], file, rounds)
    for name, (seconds, processor, megabytes, _) in found.items():
        print(f"{name:40} {seconds:6.2f} s ({processor:5.2f} s computing) {megabytes:6.0f} MB")
    front, pandas = found["front"], found["pandas, the same front"]
    time_ratio, memory_ratio = pandas.processor / front.processor, pandas.megabytes / front.megabytes
    print(f"pandas / nas front: {time_ratio:.1f} x computing, {memory_ratio:.1f} x memory")
    print(f"front of pandas: {pandas.said.strip()} trials; nas: {front.said.splitlines()[0]}")
    if optuna:
        memory = measured([sys.executable, "-c", OPTUNA, str(optuna)], file, 1)
        each = float(memory.said) / optuna
        ratio = each * trials / front.processor
        print(f"Optuna best_trials, {optuna:,} trials in memory: {float(memory.said):.2f} s, {memory.megabytes:.0f} MB")
        print(f"Optuna / nas front, by trial: {ratio:.1f} x")


def main() -> None:
    """Make the store, unless one is given that was made before, and ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--optuna", type=int, default=10_000, help="trials that Optuna gets; 0 leaves it out")
    parser.add_argument("--store", type=Path, help="keep the store in this file, and use it again")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = asked.store or Path(folder) / "nas.db"
        if not file.exists():
            began = time.perf_counter()
            make(file, asked.trials)
            print(f"Written in {time.perf_counter() - began:.0f} s")
        compare(file, asked.trials, asked.rounds, asked.optuna)


if __name__ == "__main__":
    main()
