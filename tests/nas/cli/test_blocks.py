"""`nas blocks`: the catalogue from constructors and docstrings."""

from __future__ import annotations

import csv
import io
import json

import pytest
from typer.testing import CliRunner

from blocks.architecture import SLOTS
from blocks.catalogue import KINDS, catalogue
from blocks.errors import BlockError, QueryError
from nas.cli import app
from nas.report.components import arguments, option_rows


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["blocks", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_it_lists_every_component_of_every_slot():
    rows = json.loads(run("--format", "json"))
    listed = [(row["slot"], row["name"]) for row in rows]
    assert listed == [(slot, name) for slot in KINDS for name in catalogue(slot)]
    assert all(row["summary"].endswith(".") and row["source"] for row in rows)


def test_a_slot_lists_its_options_in_brief():
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(run("context", "--format", "csv")))}
    assert rows["ppm"]["options"] == "channels=512, bins=[1, 2, 3, 6], branch=split"
    assert rows["none"]["options"] == ""


def test_a_slot_may_be_named_in_the_plural():
    assert run("contexts") == run("context")
    assert run("losses") == run("loss")
    assert run("contexts", "ppm") == run("context", "ppm")


def test_what_no_public_code_confirms_is_marked():
    rows = {row["name"]: row for row in json.loads(run("contexts", "--format", "json"))}
    assert rows["ppm"]["verified"] is True
    assert rows["ordnet"]["verified"] is False


def test_a_component_shows_its_docstring_and_its_options():
    text = run("align", "ifa")
    assert "Hu et al., Learning Implicit Feature Alignment" in text
    assert "Deviations:" in text
    width = next(line.split() for line in text.splitlines() if line.split()[:2] == ["width", "int"])
    assert width == ["width", "int", "256", "from", "8", "to", "1024", "project:", "true"]


def test_options_come_as_flat_rows_with_their_own_types():
    rows = {row["option"]: row for row in json.loads(run("align", "ifa", "--format", "json"))}
    assert rows["width"]["default"] == 256
    assert rows["project"]["default"] is True
    assert rows["pos_dim"]["meaning"].startswith("sines and cosines")


@pytest.mark.parametrize("slot", [*SLOTS, "loss"])
def test_every_option_has_a_meaning(slot):
    for name in catalogue(slot):
        assert all(row["meaning"] for row in option_rows(slot, name)), name


def test_a_component_without_options_says_so():
    assert "It has no options." in run("context", "none")


def test_a_meaning_over_several_lines_becomes_one():
    text = "Do.\n\nArgs:\n    one: first\n        and more.\n    two: second.\n\nSource:\n    None."
    assert arguments(text) == {"one": "first and more.", "two": "second."}


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["contxt"], BlockError, "Did you mean 'context'?"),
        (["context", "pmp"], BlockError, "Did you mean 'ppm'?"),
        (["--format", "jsn"], QueryError, "Did you mean 'json'?"),
    ],
)
def test_a_wrong_name_gets_the_nearest_one(words, error, hint):
    with pytest.raises(error) as raised:
        run(*words)
    assert hint in str(raised.value)
