"""Components against what their authors' code does: recorded numbers and published sizes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from benchmarks.published import PUBLISHED
from benchmarks.published.case import Called
from blocks.cost import cost_of_module

REFERENCE = Path(__file__).parents[2] / "../shared/reference"
RECORDED = [name for name, case in PUBLISHED.items() if case.recorded]

needs_reference = pytest.mark.skipif(
    not REFERENCE.exists(), reason="the folder of reference facts does not lie beside the repository"
)


@needs_reference
@pytest.mark.parametrize("name", RECORDED)
def test_it_gives_the_recorded_numbers(name):
    spec = importlib.util.spec_from_file_location("compare", REFERENCE / "compare.py")
    compare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compare)
    case = PUBLISHED[name]
    result = compare.compare(REFERENCE / "golden" / f"{case.file or name}.safetensors", case.recorded(), case.call)
    assert result["ok"], result


@pytest.fixture(scope="module")
def facts() -> dict[str, dict]:
    return {entry["name"]: entry for entry in json.loads((REFERENCE / "blocks.json").read_text())}


@needs_reference
@pytest.mark.parametrize("name", PUBLISHED)
def test_it_has_the_published_parameters(name, facts):
    case = PUBLISHED[name]
    ours = sum(parameter.numel() for parameter in case.build().parameters())
    assert ours - case.params_added == facts[name]["params_trainable"] - case.params_elsewhere


@needs_reference
@pytest.mark.parametrize("name", PUBLISHED)
def test_it_has_the_published_macs_or_says_why_not(name, facts):
    case, fact = PUBLISHED[name], facts[name]
    if fact.get("macs_conv_linear") is None:
        pytest.skip("nobody counted it")
    with torch.device("meta"):
        inputs = [torch.empty(shape) for shape in fact["input_shape"]]
        cost = cost_of_module(Called(case.build(), case.call), *inputs)
    theirs = fact["macs_conv_linear"] + (fact.get("macs_attention") or 0)
    assert cost.macs == pytest.approx(theirs, rel=0.005) or case.note, (cost, theirs)
