"""How long a front takes in a store with a million trials, and how much memory.

A synthetic study is written into a temporary folder: every trial has an architecture, costs, a protocol and three
recorded options of its own; mIoU grows with the logarithm of the MACs and scatters. Then `nas front` and its variants run
as commands, each in a process of its own, start-up included. Beside them: pandas on the same rows, read with one query,
and `study.best_trials` of Optuna, in memory, on as many trials as it can take.

    python -m benchmarks.store [--trials 1000000] [--rounds 3] [--optuna 10000] [--store FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
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
    params = int(macs ** 0.7 * draw.uniform(0.5, 2))
    context, head = draw.choice(CONTEXTS), draw.choice(HEADS)
    slots = {"backbone": draw.choice(BACKBONES), "context": context, "align": "bilinear", "refine": "none", "head": head}
    rows["architecture"].append({"id": number, "fingerprint": f"a{number:015x}", **slots, "canonical": CANONICAL})
    size = {"height": 512, "width": 1024, "classes": 19, "image_channels": 3}
    figures = {"params": params, "macs": macs, "macs_conv": macs, "activation_bytes": params * 4}
    rows["cost"].append({"id": number, "architecture_id": number, **size, **figures})
    state = draw.choice(STATES)
    trained = state in ("finished", "stopped")
    miou = 0.8 * (1 - math.exp(-(math.log10(macs) - 8) / 1.2)) * draw.betavariate(8, 2)
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
            "pixel_accuracy": miou ** 0.5 if trained else None,
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
    for path, value, number_value in (("context", context, None), ("head", head, None), ("training.learning_rate", "", 10 ** draw.uniform(-5, -1))):
        rows["choice"].append({"trial_id": number, "path": path, "value": value or str(number_value), "number": number_value})


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
