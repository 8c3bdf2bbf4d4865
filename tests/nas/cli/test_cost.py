"""`nas cost`: rows, their conventions and the mistakes that people make."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from blocks.architecture import Architecture, Component
from blocks.cost import cost_of
from blocks.errors import BlockError, NasError
from nas.cli import app

FIXED = """
data: {shapes: {size: [64, 64]}}
architecture: {backbone: {timm: {model: test_resnet}}, context: {ppm: {channels: 32}}}
"""
LARGE = """
data: {shapes: {size: [64, 64]}}
architecture:
  backbone: {timm: {model: test_resnet}}
  context: {ppm: {channels: {int: [8, 512]}}}
"""


@pytest.fixture
def cost(tmp_path):
    """Run the verb on a space's text."""

    def run(text: str, *arguments: str):
        file = tmp_path / "it.yaml"
        file.write_text(text)
        return CliRunner().invoke(app, ["cost", str(file), *arguments])

    return run


def test_a_fixed_space_is_one_row_with_the_figures_of_cost_of(cost):
    done = cost(FIXED, "--format", "json", "--size", "96x64", "--classes", "7")
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    context = Component.of("ppm", {"channels": 32})
    architecture = Architecture(backbone=Component.of("timm", {"model": "test_resnet"}), context=context)
    expected = cost_of(architecture, size=(96, 64), classes=7)
    assert {key: row[key] for key in ("params", "macs", "macs_conv", "activation_bytes")} == {
        "params": expected.params,
        "macs": expected.macs,
        "macs_conv": expected.macs_conv,
        "activation_bytes": expected.activation_bytes,
    }
    assert (row["size"], row["classes"], row["image_channels"]) == ("96x64", 7, 3)
    assert row["context"] == "ppm channels=32"


def test_people_are_told_the_input_and_both_conventions(cost):
    done = cost(FIXED)
    assert "Input 3x64x64, 6 classes" in done.output
    assert "attention included" in done.output
    assert "convolutions and linear layers alone" in done.output


def test_a_large_space_shows_different_networks_and_says_how_many_there_are(cost):
    done = cost(LARGE, "--limit", "3", "--format", "json")
    rows = json.loads(done.stdout)
    assert len({row["fingerprint"] for row in rows}) == 3
    assert len({row["params"] for row in rows}) == 3
    assert "3 of 505 architectures" in done.stderr


def test_latency_is_measured_on_request(cost):
    (row,) = json.loads(cost(FIXED, "--latency", "--format", "json").stdout)
    assert row["device"] == "cpu"
    assert row["latency_ms"] > 0
    assert row["peak_memory_bytes"] > 4 * row["params"]


def test_the_memory_of_training_is_foretold_on_request_for_the_batch_of_the_space(cost):
    small, large = (
        json.loads(cost(FIXED, "--train-memory", "--format", "json", "--set", f"training.batch={batch}").stdout)[0]
        for batch in (2, 8)
    )
    assert (small["train_batch"], large["train_batch"]) == (2, 8)
    assert 16 * small["params"] < small["train_memory_bytes"] < large["train_memory_bytes"]
    assert "train_memory_bytes" in cost(FIXED, "--train-memory").output
    assert "train_memory_bytes" not in cost(FIXED).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "64"], "height x width in pixels: got size='64'"),
        (["--size", "0x64"], "height x width in pixels"),
        (["--format", "yaml"], "got format='yaml'"),
        (["--latency", "--device", "tpu"], "a device of this machine: got device='tpu'"),
        (["--set", "architecture.backbone.timm.model=nest_tiny", "--size", "64x96"], "Model only handles square"),
    ],
)
def test_mistakes_are_explained(cost, arguments, message):
    error = cost(FIXED, *arguments).exception
    assert isinstance(error, NasError)
    assert message in str(error)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_here_is_refused(cost):
    assert "Known here: cpu" in str(cost(FIXED, "--latency", "--device", "cuda").exception)


def test_a_network_that_cannot_be_built_does_not_hide_the_others(cost):
    text = FIXED.replace("test_resnet", "{choice: [test_resnet, nest_tiny]}")
    done = cost(text, "--size", "64x96", "--format", "json")
    assert len(json.loads(done.stdout)) == 1
    assert "Not built: backbone timm" in done.stderr
    assert not isinstance(done.exception, BlockError)


PUBLISHED = """
published:
  follows: the public code
  data: ADE20K
  size: [96, 64]
  classes: 7
  measured: {params: 1.0e6, macs: 2.0e6}
  reported:
    - {data: ADE20K, miou: 0.41, params: 2.0e6, gflops: 0.5, counts: macs_conv, source: the paper}
    - {data: Cityscapes, miou: 0.7, gflops: 9, size: [512, 1024], source: the paper}
"""


def test_a_published_network_stands_beside_what_others_print(cost):
    done = cost(FIXED + PUBLISHED)
    assert done.exit_code == 0, done.output
    assert "Input 3x96x64, 7 classes" in done.output, "costs are stated for what was published"
    table = done.output.partition("Published: the public code")[2]
    figures = [line.split()[0] for line in table.splitlines() if "measured  " in line or "reported  " in line]
    assert figures == ["params", "macs", "params", "macs_conv"], "two were measured, two are printed"
    assert "Cityscapes" not in done.output, "what is printed for another size is no comparison"


def test_at_another_size_nothing_is_compared(cost):
    assert "Published" not in cost(FIXED + PUBLISHED, "--size", "64x64").output


def test_a_published_section_is_checked_line_by_line(cost):
    done = cost(
        FIXED + "published: {follows: x, data: ADE20K, size: [64, 64], measured: {mac: 3}, reported: [{miou: 41}]}"
    )
    assert isinstance(done.exception, NasError)
    for said in ("needs `classes`", "Did you mean 'macs'", "from 0 to 1"):
        assert said in str(done.exception)
