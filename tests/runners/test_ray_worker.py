"""A worker that carries out one trial after another keeps nothing of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: what other tests have left in memory would hide what is lost.
MANY = """
import json, sys
from pathlib import Path
import torch
from blocks.architecture import Architecture, Component
from blocks.catalogue import completed
from blocks.options import complete
from runners.data import dataset
from runners.protocol import Finished, Proposal, Protocol, Work
from runners.training import Training
from runners.ray_tune.worker import Worker

DATA = Component.of("shapes", {"size": (32, 32), "train": 8, "val": 4})
data = dataset(DATA, {})

def config(trial):
    architecture = completed(Architecture(
        backbone=Component.of("timm", {"model": ("test_resnet", "test_efficientnet")[trial % 2]}),
        align=Component.of("bilinear", {"channels": 8 + trial}),
    ))
    protocol = Protocol(
        data=DATA, data_fingerprint=data.fingerprint(), size=data.info.size, classes=data.info.classes,
        image_channels=3, coarse=(), main=(Component("cross_entropy"),),
        training=tuple(sorted(complete(Training, {"epochs": 2, "batch": 4}, subject="training").items())),
    )
    proposal = Proposal(trial=trial, architecture=architecture, protocol=protocol, seed=0)
    return {"proposal": proposal, "work": Work(place={}, folder=Path(sys.argv[1])), "data": DATA, "recipe": None}

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])

worker, sizes = Worker(config(0)), []
for trial in range(50):
    if trial:
        worker.take(config(trial))
    # Some are stopped early, as a scheduler does it.
    for _ in range(1 + trial % 2):
        result = worker.step()
        assert "outcome" not in result or result["outcome"] == Finished(), result
    sizes.append(resident())
print(json.dumps(sizes))
"""


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read in /proc")
def test_fifty_networks_take_the_memory_of_five(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MANY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kib = json.loads(done.stdout.splitlines()[-1])
    print(f"resident after 5: {kib[4] >> 10} MiB, after 50: {kib[49] >> 10} MiB")
    assert kib[49] <= 1.1 * kib[4]
