"""Recorded outputs: a component whose numbers change must raise its `version`, which is part of a result's identity.

After adding a component, or changing one and raising its version, record it with

    SEGNAS_RECORD=1 pytest tests/blocks/test_recorded.py

which files what is new and forgets what is gone. It never replaces numbers of a version that is already filed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

FILE = Path(__file__).with_name("recorded.json")
RECORDING = os.environ.get("SEGNAS_RECORD") == "1"
RECORDED: dict[str, dict[str, object]] = json.loads(FILE.read_text()) if FILE.exists() else {}


@pytest.fixture(scope="module")
def filing(catalogued):
    """Collect what is new and, when recording, file it."""
    new: dict[str, dict[str, object]] = {}
    yield new
    if RECORDING:
        kept = {key: entry for key, entry in (RECORDED | new).items() if key in catalogued}
        FILE.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def summary(tensors: tuple[Tensor, ...]) -> list[float]:
    """Six numbers a tensor that hardly any change of the arithmetic leaves alone."""
    numbers: list[float] = []
    for tensor in tensors:
        flat = tensor.detach().double().flatten()
        weights = torch.cos(torch.arange(len(flat), dtype=torch.float64))
        picks = [flat[0], flat[len(flat) // 3], flat[-1]]
        numbers += [float(value) for value in (flat.mean(), flat.std(correction=0), (flat * weights).mean(), *picks)]
    return numbers


def check(key: str, version: int, numbers: list[float], filing: dict[str, dict[str, object]]) -> None:
    found = RECORDED.get(key)
    if RECORDING and (found is None or found["version"] != version):
        filing[key] = {"version": version, "numbers": numbers}
        return
    assert found is not None, f"{key} is not recorded: see the head of this file"
    assert version == found["version"], f"{key} has a new version: record it, see the head of this file"
    scale = max(map(abs, numbers))
    assert numbers == pytest.approx(found["numbers"], rel=1e-4, abs=1e-4 * scale), f"{key} changed: raise its version"


def test_a_stage_gives_what_is_recorded(case, filing):
    if case.component.name == "timm":
        pytest.skip("a timm model's numbers are timm's, and its version is in each result's provenance")
    size = case.sizes[0]
    stage = case.build(size).eval()
    outputs = case.written(stage(case.features(size)))
    check(case.key, case.type.version, summary(outputs), filing)


def test_a_loss_gives_what_is_recorded(loss, filing):
    criterion = loss.type(5, torch.linspace(0.5, 1.5, 5), **dict(loss.component.options))
    logits = torch.sin(torch.arange(2.0 * 5 * 7 * 3)).reshape(2, 5, 7, 3)
    labels = torch.arange(2 * 7 * 3).reshape(2, 7, 3) % 6
    labels[labels == 5] = 255
    check(loss.key, loss.type.version, [float(criterion(logits, labels))], filing)


@pytest.mark.skipif(RECORDING, reason="recording forgets what is gone")
def test_nothing_is_recorded_of_what_is_gone(catalogued):
    assert not RECORDED.keys() - catalogued
