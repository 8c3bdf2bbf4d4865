"""`nas effects`: its sections, what they rest on, and studies that have nothing to compare."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from nas.cli import main
from nas.propose.importance import importances
from nas.store import Store
from runners.protocol import Failed

CONTEXTS = ("none", "ppm", "psa")


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def nas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["nas", *words])
        with pytest.raises(SystemExit) as exit:
            main()
        captured = capsys.readouterr()
        return Said(int(exit.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def searched(store: Store, study_id: int, add: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> Store:
    """Forty networks in which the context matters and the learning rate does not, one of them with two seeds."""
    rng = np.random.default_rng(0)
    for number in range(40):
        context = CONTEXTS[number % 3]
        place = CONTEXTS.index(context)
        rate, macs = float(10 ** rng.uniform(-4, -2)), (place + 1) * 1_000_000_000
        miou = 0.3 + 0.05 * place + 0.01 * rng.standard_normal()
        add(store, study_id, context=context, rate=rate, channels=(256, 512)[number % 2], macs=macs, mious=(miou,))
    add(store, study_id, context="psa", rate=rate, seed=1, macs=3_000_000_000, mious=(0.4,))
    add(store, study_id, context="psa", outcome=Failed("<script>"))
    monkeypatch.setenv("NAS_STORE", store.url)
    return store


def test_every_option_is_listed_with_what_it_rests_on(nas: Callable[..., Said], searched: Store) -> None:
    said = nas("effects", "camvid")

    assert said.code == 0
    # The last network of the forty has context `none`: the seed of psa at that rate is a network of its own.
    assert said.out.startswith(
        "camvid: 41 networks from 41 final trials; 1 other left out, not final or without mIoU\n"
    )
    (psa,) = [line.split() for line in said.out.splitlines() if line.split()[:2] == ["context", "psa"]]
    assert psa[2] == "14"
    assert psa[4].startswith("+") and psa[6] == "to"
    assert "Optuna's PED-ANOVA" in said.out
    assert "no test: noise has importances too" in " ".join(said.out.split())
    assert "Pairs" not in said.out


def test_seeds_count_as_one_network(nas: Callable[..., Said], searched: Store, add: Callable[..., int]) -> None:
    study = searched.find_study("camvid")["id"]
    for seed in range(2, 4):
        add(searched, study, context="psa", rate=0.5, seed=seed, mious=(0.4,))

    assert nas("effects", "camvid").out.startswith("camvid: 42 networks from 43 final trials;")


def test_for_machines_every_section_is_in_one_list(nas: Callable[..., Said], searched: Store) -> None:
    rows = json.loads(nas("effects", "camvid", "--pairs", "--format", "json").out)

    assert {row["section"] for row in rows} == {"effects", "interactions", "ped_anova"}
    worth = {(r["question"], r["option"]): r for r in rows if r["section"] == "effects"}
    psa = worth["context", "psa"]
    assert psa["low"] < 0.05 < psa["high"] and psa["p"] < 1e-6
    assert psa["gflops"] == pytest.approx(1.0)
    assert psa["miou_per_gflop"] == pytest.approx(psa["difference"])
    first = next(row for row in rows if row["section"] == "ped_anova")
    assert first["trials"] == 41
    table = csv.DictReader(io.StringIO(nas("effects", "camvid", "--pairs", "--format", "csv").out))
    assert [row["section"] for row in table] == [row["section"] for row in rows]


def test_a_condition_limits_what_is_compared(nas: Callable[..., Said], searched: Store) -> None:
    said = nas("effects", "camvid", "--where", "context == 'ppm'", "--format", "md")

    assert said.out.startswith("camvid: 13 networks")
    assert "context.ppm.channels" in said.out and "psa" not in said.out
    assert "| --- |" in said.out


def test_what_all_rows_have_in_common_is_said_once(nas: Callable[..., Said], filled: Store) -> None:
    said = nas("effects", "camvid", "--store", filled.url, "--pairs")

    assert said.code == 0
    assert said.out.count("too few networks to judge (4 for") == 1
    assert "All rows: too few networks to judge" in said.out
    assert "PED-ANOVA needs ten" in said.out
    assert "interval" not in said.out.splitlines()[3]


def test_importances_find_the_question_that_matters(searched: Store) -> None:
    study = searched.find_study("camvid")
    found = importances(searched.everything(study["id"]), {"miou": "max"})

    assert {row["question"] for row in found} == {"context", "training.learning_rate"}
    assert sum(row["miou_importance"] for row in found) == pytest.approx(1.0)
    context = next(row for row in found if row["question"] == "context")
    assert context["miou_importance"] > 0.5


def test_conditional_questions_have_importances_too() -> None:
    """The bins are asked of half the networks and decide which of these are the best."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(60):
        answers = {"context": ("none", "ppm")[number % 2], "training.learning_rate": float(rng.uniform(0.001, 0.01))}
        if answers["context"] == "ppm":
            answers["context.ppm.bins"] = ((1, 2), (1, 2, 4), (1, 2, 3, 6))[number % 3]
        best = answers.get("context.ppm.bins") == (1, 2, 3, 6)
        row = {"state": "finished", "miou": 0.4 + 0.2 * best + 0.001 * rng.standard_normal(), "macs": 1e9}
        rows.append(row | {"answers": answers, "fingerprint": str(number), "protocol_fingerprint": "same"})

    found = {row["question"]: row for row in importances(rows, {"miou": "max", "macs": "min"})}

    assert found["context.ppm.bins"]["trials"] == 30
    assert found["context.ppm.bins"]["miou_importance"] > found["training.learning_rate"]["miou_importance"]
    # Of what is equal nothing is the best: no share is made up.
    assert {row["miou_importance"] for row in importances([r | {"miou": 0.4} for r in rows], {"miou": "max"})} == {None}


@pytest.mark.parametrize("failed", [False, True])
def test_a_study_without_results_says_so(
    nas: Callable[..., Said], store: Store, study_id: int, add: Callable[..., int], failed: bool
) -> None:
    if failed:
        add(store, study_id, mious=(), outcome=Failed("out of memory"))
    said = nas("effects", "camvid", "--store", store.url, "--pairs")

    assert said.code == 0
    assert said.out.startswith("camvid: 0 networks from 0 final trials")
    assert "nothing to compare" in said.out
    assert nas("effects", "camvid", "--store", store.url, "--format", "json").out.strip() == "[]"


def test_a_study_that_does_not_exist_is_refused_with_the_nearest(nas: Callable[..., Said], filled: Store) -> None:
    said = nas("effects", "camvit", "--store", filled.url)
    assert said.code == 2
    assert "Did you mean 'camvid'" in said.err

    said = nas("effects", "camvid", "--store", filled.url, "--where", "contxt == 'ppm'")
    assert said.code == 2
    assert "context" in said.err


def test_a_store_that_does_not_exist_is_not_made(nas: Callable[..., Said], tmp_path: Path) -> None:
    assert nas("effects", "camvid", "--store", str(tmp_path / "none.db")).code == 2
    assert not (tmp_path / "none.db").exists()
