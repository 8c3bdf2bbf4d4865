"""`nas space`: valid or every mistake, the exact count, what a sample costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blocks.errors import SpaceError
from nas.cli import app
from nas.space import Space

SPACE = """\
data: {shapes: {size: [64, 64]}}
architecture:
  backbone: {timm: {model: {choice: [resnet10t, mobilenetv3_small_050]}}}
  context: {choice: [none, psa]}
  align: {bilinear: {channels: 64}}
training: {learning_rate: {float: [1.0e-4, 1.0e-2], log: true}, batch: {choice: [4, 8, 16]}}
budget: {params: 2.0e6}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(SPACE)
    return str(path)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["space", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_it_says_what_the_space_holds(file: str) -> None:
    text = run(file, "--samples", "40", "--show", "3")
    assert "mine: valid." in text
    assert "4 architectures, 3 discrete training settings." in text
    assert "1 continuous question: training.learning_rate." in text
    assert "Within budget (params <= 2.00 M): " in text
    assert len(text.partition("Samples")[2].strip().splitlines()) == 2 + 3


def test_the_figures_as_a_flat_row(file: str) -> None:
    (row,) = json.loads(run(file, "--samples", "40", "--format", "json"))
    assert (row["architectures"], row["training_settings"], row["continuous_questions"]) == (4, 3, 1)
    assert row["samples"] == row["buildable"] == 40
    # resnet10t alone has more than the 2 M parameters allowed, mobilenetv3_small_050 fewer.
    assert 0 < row["within_budget"] < 1
    assert row["params_min"] < 2e6 < row["params_max"]
    assert 0 < row["macs_min"] < row["macs_max"]


def test_values_can_be_set(file: str) -> None:
    arguments = ["--set", "architecture.context=none", "--set", "training.learning_rate=0.001"]
    (row,) = json.loads(run(file, "--samples", "0", "--format", "json", *arguments))
    assert (row["architectures"], row["continuous_questions"]) == (2, 0)
    assert row["within_budget"] is None


def test_a_model_that_timm_does_not_know_is_found_in_its_line(file: str) -> None:
    text = SPACE.replace("resnet10t", "resnet10tt")
    with pytest.raises(SpaceError, match=r"space:3:38: .*resnet10tt.*Did you mean 'resnet10t'\?"):
        Space.loads(text)


def test_what_cannot_be_built_is_told_with_the_reason(file: str) -> None:
    result = CliRunner().invoke(
        app,
        ["space", file, "--samples", "5", "--set", "architecture.backbone={timm: {model: vgg11, output_stride: 8}}"],
    )
    assert "Not built: " in result.stderr
    assert "vgg11" in result.stderr
    assert "Within budget (params <= 2.00 M): 0% of 5 samples." in result.stdout


def test_every_mistake_reaches_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(SPACE.replace("psa", "pza").replace("params", "parms"))
    with pytest.raises(SpaceError) as caught:
        CliRunner().invoke(app, ["space", str(path)], catch_exceptions=False)
    assert "Did you mean 'psa'?" in str(caught.value)
    assert "Did you mean 'params'?" in str(caught.value)
