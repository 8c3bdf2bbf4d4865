"""A study whose networks are really trained, and the command in this process."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from nas.cli import main
from nas.space import Space
from nas.study import sweep

TINY = """
name: tiny
data: {shapes: {size: [64, 64], train: 16, val: 8}}
architecture:
  backbone: {timm: {model: test_resnet}}
  context: {choice: {none: , ppm: {channels: 16, bins: [1, 2]}, psa: }}
  align: {bilinear: {channels: 16}}
training: {epochs: 3, batch: 8, ema: 0.5}
search: {sampler: grid, trials: 3, early_stopping: none}
"""


class Said(NamedTuple):
    code: int
    out: str
    err: str


Nas = Callable[..., Said]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and checkpoints: three networks, three epochs each."""
    folder = tmp_path_factory.mktemp("tiny")
    sweep(Space.loads(TINY), store=str(folder / "nas.db"), runner="local", folder=folder / "nas_runs")
    return folder


@pytest.fixture
def trained(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, the test's own, and the working folder."""
    mine = tmp_path / "mine"
    shutil.copytree(tiny, mine)
    monkeypatch.chdir(mine)
    monkeypatch.setenv("NAS_STORE", "nas.db")
    return mine


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Nas:
    """The command, in this process: exit code, output, errors."""

    def run(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["nas", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit:
            main()
        captured = capfd.readouterr()
        return Said(int(exit.value.code or 0), captured.out, captured.err)

    return run
