"""The defaults of the samplers: what is derived from the budget, and that each says why."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from blocks.errors import SpaceError
from nas.cli import app
from nas.propose.samplers import sampler
from nas.space import SAMPLERS, Space
from nas.space.samplers import population, settled

TEXT = """
data: shapes
architecture: {backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}}
search: {sampler: SAMPLER, trials: 200}
"""


def space_of(name):
    return Space.loads(TEXT.replace("SAMPLER", name))


@pytest.mark.parametrize(("trials", "expected"), [(1, 6), (60, 6), (200, 20), (300, 30), (100_000, 50)])
def test_a_budget_holds_some_ten_generations(trials, expected):
    assert population(trials) == expected


@pytest.mark.parametrize("name", ["nsga2", "nsga3"])
def test_the_population_follows_from_the_trials_unless_it_is_given(name):
    assert sampler(settled(space_of(name).search.sampler, 200), 0).population_size == 20
    given = space_of(f"{{{name}: {{population: 12}}}}").search.sampler
    assert sampler(settled(given, 200), 0).population_size == 12


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_default_can_be_built_at_every_budget(name):
    chosen = space_of(name).search.sampler
    for trials in (1, 60, 1_000_000):
        assert sampler(settled(chosen, trials), 0) is not None


@pytest.mark.parametrize("crossover", ["spx", "undx"])
def test_a_crossover_of_three_parents_needs_them(crossover):
    with pytest.raises(SpaceError, match="three parents"):
        space_of(f"{{nsga2: {{population: 2, crossover: {crossover}}}}}")


def test_the_table_says_what_the_defaults_are_and_why():
    done = CliRunner().invoke(app, ["blocks", "samplers", "--format", "json"], catch_exceptions=False)
    rows = {row["sampler"]: row for row in json.loads(done.output)}
    assert rows.keys() == SAMPLERS.keys()
    assert all(row["why"] and row["summary"] for row in rows.values())
    assert rows["nsga2"]["60 trials"] == "population=6"
    assert rows["nsga2"]["200 trials"] == "population=20"
    assert "startup=10" in rows["tpe"]["always"]
    assert "startup=6" in rows["surrogate"]["always"]
    assert not any("_WHY" in row["why"] for row in rows.values())
