"""SIGTERM ends a sweep in the middle of an epoch, and resuming it goes on there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import pytest
import torch

from nas import Space, Study, sweep

# One epoch of these takes long enough to be caught in, a hundred steps or more after its first checkpoint.
TEXT = """
name: long
data: {shapes: {size: [32, 32], train: 1600, val: 8}}
architecture:
  backbone: {timm: {model: test_resnet}}
  align: {bilinear: {channels: 8}}
training: {epochs: 1, batch: 4}
search: {sampler: random, trials: 1, early_stopping: none}
resources: {checkpoint_minutes: 0.003}
"""


def command(folder: Path, runner: str, *more: str) -> list[str]:
    (folder / "long.yaml").write_text(TEXT)
    store = ["--store", str(folder / "nas.db"), "--runner", runner]
    return [sys.executable, "-m", "nas", "sweep", str(folder / "long.yaml"), *store, *more]


def final(store: Path) -> tuple[float, ...]:
    epoch = Study("long", str(store)).epochs(0).iloc[-1]
    return (epoch["loss"], epoch["miou"], *(iou or 0.0 for iou in epoch["class_iou"]))


@pytest.mark.parametrize("runner", ["local", pytest.param("ray", marks=pytest.mark.ray)])
@pytest.mark.slow
def test_sigterm_falls_back_to_the_last_checkpoint(tmp_path: Path, runner: Literal["local", "ray"]) -> None:
    checkpoint = tmp_path / "nas_runs" / "long" / "000000" / "checkpoint.pt"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command(tmp_path, runner), cwd=tmp_path, env=environment, **pipes) as process:  # type: ignore[call-overload]
        while not checkpoint.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        print(f"{runner}: ended after {time.monotonic() - asked:.1f} s")
    assert process.returncode == 130, err
    assert "1 interrupted" in out
    assert "--resume" in err
    steps = len(torch.load(checkpoint, weights_only=True)["within"]["losses"])
    assert 0 < steps < 400, "caught in the middle of the epoch"

    again = subprocess.run(command(tmp_path, runner, "--resume"), cwd=tmp_path, env=environment, check=True, **pipes)  # type: ignore[call-overload]
    assert "1 finished" in again.stdout
    whole = sweep(Space.loads(TEXT), runner="local", store=str(tmp_path / "whole.db"), folder=tmp_path / "whole")
    assert whole.counts() == {"finished": 1}
    assert final(tmp_path / "nas.db") == final(tmp_path / "whole.db")
