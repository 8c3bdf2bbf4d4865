"""What the README says, run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from nas import Space

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    """Every `$ nas ...` line, without its comment."""
    lines = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ nas ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


BRIEFLY = {
    "ablate": ["--runner", "local", "--seeds", "2", "--set", "training.epochs=1"],
    "train": ["--runner", "local", "--set", "training.epochs=1"],
}
"""What keeps a training of the README short."""


def questions() -> list[list[str]]:
    """What the README asks of its two studies; the ablation first, because others compare with it."""
    asked = [c for c in commands() if {"quickstart", "parts", "parts.yaml", "net.yaml"} & set(c) and c[0] != "sweep"]
    return sorted(asked, key=lambda command: command[0] != "ablate")


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_yaml_is_a_valid_space(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for example in blocks("yaml"):
        assert Space.loads(example).count() > 1


@pytest.mark.slow
def test_the_python_example_runs(tmp_path):
    (example,) = blocks("python")
    (tmp_path / "example.py").write_text(example)
    done = run(["example.py"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "architectures" in done.stdout


@pytest.mark.ray
@pytest.mark.slow
def test_the_quickstart_and_every_question_about_it(tmp_path):
    done = run(["-m", "nas", "sweep", "quickstart"], tmp_path)
    assert done.returncode == 0, done.stderr
    (parts,) = [example for example in blocks("yaml") if example.startswith("# parts.yaml")]
    (tmp_path / "parts.yaml").write_text(parts)
    asked = [*questions(), ["studies"], ["blocks"]]
    verbs = {
        "front",
        "progress",
        "compare",
        "effects",
        "report",
        "show",
        "export",
        "train",
        "evaluate",
        "ablate",
        "table",
    }
    assert verbs <= {arguments[0] for arguments in asked}
    # Which of two trials ends first decides what is searched next: here another trial may be on the front.
    front = run(["-m", "nas", "front", "quickstart", "--format", "json"], tmp_path)
    best = str(json.loads(front.stdout)[-1]["number"])
    for shown in asked:
        arguments = [best if word == "2" else word for word in shown]
        answer = run(["-m", "nas", *arguments, *BRIEFLY.get(arguments[0], [])], tmp_path)
        assert answer.returncode == 0, f"nas {shlex.join(arguments)}: {answer.stderr}"
        assert answer.stdout.strip() or "Written to" in answer.stderr, arguments


def test_the_extras_are_those_of_the_package():
    names = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (paragraph,) = re.findall(r"^Extras: .*?\n\n", README, flags=re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"`([a-z]+)`", paragraph)) == set(names)


@pytest.mark.slow
def test_the_network_that_is_shown_costs_what_is_shown(tmp_path):
    (shown,) = [block for block in blocks("console") if block.startswith("$ nas cost published/")]
    command, *lines = shown.splitlines()
    done = run(["-m", "nas", *shlex.split(command[2:])[1:]], tmp_path)
    printed = done.stdout.splitlines()
    assert len(lines) > 8
    assert [line for line in lines if line != "..." and line not in printed] == []


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [c for c in commands() if c[0] in {"space", "cost", "blocks"}], ids=shlex.join)
def test_what_needs_no_results_runs(arguments, tmp_path):
    more = ["--samples", "5"] if arguments[0] == "space" else ["--limit", "3"] if arguments[0] == "cost" else []
    done = run(["-m", "nas", *arguments, *more], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
