"""Components against what their authors' code does: recorded numbers and published sizes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from benchmarks.published import PUBLISHED

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


@needs_reference
@pytest.mark.parametrize("name", PUBLISHED)
def test_it_has_the_published_parameters(name):
    facts = {entry["name"]: entry for entry in json.loads((REFERENCE / "blocks.json").read_text())}
    case = PUBLISHED[name]
    ours = sum(parameter.numel() for parameter in case.build().parameters())
    assert ours - case.params_added == facts[name]["params_trainable"] - case.params_elsewhere
