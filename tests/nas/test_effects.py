"""Effects: what was put in comes out, and nothing comes out that was not put in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from nas.analysis.effects import effects, interactions

Table = list[dict[str, Any]]
Data = tuple[Table, dict[int, dict[str, str | None]]]

CONTEXTS = {"none": 0.0, "ppm": 0.05, "psa": 0.10}
GFLOPS = {"none": 1.0, "ppm": 1.5, "psa": 3.5}


def trial(number: int, miou: float | None, macs: float = 1e9, state: str = "finished", **more: Any) -> dict[str, Any]:
    return {"id": number, "state": state, "miou": miou, "macs": macs, **more}


def drawn(count: int, worth: Callable[[Mapping[str, str]], float], *, noise: float = 0.02, seed: int = 0) -> Data:
    """A search by chance over two slots, a nested option and a learning rate."""
    rng = np.random.default_rng(seed)
    rows: Table = []
    choices: dict[int, dict[str, str | None]] = {}
    for number in range(count):
        context, head = str(rng.choice(list(CONTEXTS))), str(rng.choice(["linear", "ssa"]))
        rate = f"{10 ** rng.uniform(-4, -2):.5g}"
        chosen = {"context": context, "head": head, "training.learning_rate": rate, "data": "shapes"}
        if context == "ppm":
            chosen["context.ppm.bins"] = str(rng.choice(["[1,2,3,6]", "[1,2,4]"]))
        macs = (GFLOPS[context] + 0.1 * (head == "ssa")) * 1e9
        rows.append(trial(number, 0.4 + worth(chosen) + noise * rng.standard_normal(), macs))
        choices[number] = dict(chosen)
    return rows, choices


def by_option(table: Table) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["question"], row["option"]): row for row in table}


def excludes_none(row: Mapping[str, Any]) -> bool:
    return bool(row["low"] > 0 or row["high"] < 0)


def test_differences_are_those_that_were_put_in() -> None:
    bins = {"[1,2,3,6]": 0.03, "[1,2,4]": -0.03}
    rows, choices = drawn(
        300, lambda c: CONTEXTS[c["context"]] + 0.02 * (c["head"] == "ssa") + bins.get(c.get("context.ppm.bins", ""), 0)
    )
    found = by_option(effects(rows, choices))

    put_in = {
        ("context", "none"): -0.05,
        ("context", "ppm"): 0.0,
        ("context", "psa"): 0.05,
        ("head", "linear"): -0.01,
        ("head", "ssa"): 0.01,
        ("context.ppm.bins", "[1,2,3,6]"): 0.03,
        ("context.ppm.bins", "[1,2,4]"): -0.03,
    }
    for key, value in put_in.items():
        row = found[key]
        assert row["low"] < value < row["high"], key
        assert row["difference"] == pytest.approx(value, abs=0.008)
        assert (row["p"] < 0.05) == (value != 0), key
        assert row["trials"] == sum(c.get(key[0]) == key[1] for c in choices.values())
    assert ("data", "shapes") not in found  # it never varied
    assert [key[0] for key in found][:5] == ["context"] * 3 + ["context.ppm.bins"] * 2  # slots first


def test_other_choices_are_accounted_for() -> None:
    """The psa trials happen to have the bad head far more often: their plain mean would say psa is the worse."""
    rng = np.random.default_rng(0)
    rows, choices = [], {}
    for number in range(120):
        context = ("none", "psa")[number % 2]
        head = "ssa" if rng.random() < (0.1 if context == "psa" else 0.9) else "linear"
        worth = 0.02 * (context == "psa") + 0.10 * (head == "ssa")
        rows.append(trial(number, 0.4 + worth + 0.01 * rng.standard_normal(), protocol_fingerprint=str(number)))
        choices[number] = {"context": context, "head": head}
    means = [np.mean([r["miou"] for r in rows if choices[r["id"]]["context"] == c]) for c in ("psa", "none")]
    assert means[0] < means[1]

    found = by_option(effects(rows, choices))

    assert found["context", "psa"]["difference"] == pytest.approx(0.01, abs=0.004)
    assert found["context", "psa"]["low"] > 0


def test_a_price_is_the_difference_over_the_difference_in_cost() -> None:
    rows, choices = drawn(200, lambda c: CONTEXTS[c["context"]], noise=0.005)
    found = by_option(effects(rows, choices))

    # Against the mean option (0.05 mIoU at 2 GMACs), psa has 0.05 mIoU more for 1.5 GMACs.
    assert found["context", "psa"]["gflops"] == pytest.approx(1.5)
    assert found["context", "psa"]["miou_per_gflop"] == pytest.approx(0.05 / 1.5, rel=0.1)
    assert found["context", "none"]["miou_per_gflop"] == pytest.approx(0.05 / 1.0, rel=0.1)
    # Bins cost nothing here: there is no price.
    assert found["context.ppm.bins", "[1,2,4]"]["gflops"] == 0.0
    assert found["context.ppm.bins", "[1,2,4]"]["miou_per_gflop"] is None


def test_the_share_of_the_front_is_of_its_members() -> None:
    rows = [trial(0, 0.3, 1e9), trial(1, 0.5, 2e9), trial(2, 0.4, 3e9), trial(3, 0.6, 4e9)]
    rows = [row | {"protocol_fingerprint": str(row["id"])} for row in rows]
    choices = {n: {"context": c} for n, c in enumerate(["none", "ppm", "none", "ppm"])}
    found = by_option(effects(rows, choices))

    assert found["context", "ppm"]["front_share"] == pytest.approx(2 / 3)
    assert found["context", "none"]["front_share"] == pytest.approx(1 / 3)


def test_pure_noise_is_not_significant() -> None:
    """Intervals exclude nothing in about one of twenty cases; after correction, any at all in about one of twenty."""
    outside = judged = false = 0
    runs = 150
    for seed in range(runs):
        table = [row for row in effects(*drawn(60, lambda _: 0.0, seed=seed)) if row["low"] is not None]
        outside += sum(excludes_none(row) for row in table)
        judged += len(table)
        false += any(row["p"] < 0.05 for row in table)

    assert judged > 8 * runs
    assert 0.03 < outside / judged < 0.07
    assert false / runs < 0.10


def test_a_search_that_follows_its_results_makes_no_effects_up() -> None:
    """A sampler takes what looked good more often; on pure noise that must not pass for an effect."""
    outside = judged = false = 0
    runs = 80
    for seed in range(runs):
        table = [row for row in effects(*followed(60, seed)) if row["low"] is not None]
        outside += sum(excludes_none(row) for row in table)
        judged += len(table)
        false += any(row["p"] < 0.05 for row in table)

    assert judged > 6 * runs
    assert outside / judged < 0.06
    assert false / runs < 0.06


def followed(count: int, seed: int) -> Data:
    """Pure noise, searched by taking the option with the best mean so far seven times in ten."""
    rng = np.random.default_rng(seed)
    seen: dict[tuple[int, str], list[float]] = {(q, o): [] for q in range(3) for o in "abc"}
    rows: Table = []
    choices: dict[int, dict[str, str | None]] = {}
    for number in range(count):
        means = {key: float(np.mean(held)) if held else 0.0 for key, held in seen.items()}
        picked = [
            max("abc", key=lambda o, q=q: means[q, o]) if rng.random() < 0.7 else str(rng.choice(list("abc")))
            for q in range(3)
        ]
        miou = 0.4 + 0.02 * rng.standard_normal()
        for question, option in enumerate(picked):
            seen[question, option].append(miou)
        rows.append(trial(number, miou, protocol_fingerprint=str(number)))
        choices[number] = {f"q{question}": option for question, option in enumerate(picked)}
    return rows, choices


def test_pure_noise_has_no_interactions() -> None:
    outside = judged = false = 0
    runs = 100
    for seed in range(runs):
        rows, choices = drawn(80, lambda c: CONTEXTS[c["context"]], seed=seed)
        table = [row for row in interactions(rows, choices) if row["low"] is not None]
        outside += sum(excludes_none(row) for row in table)
        judged += len(table)
        false += any(row["p"] < 0.05 for row in table)

    assert judged > 15 * runs
    assert 0.03 < outside / judged < 0.07
    assert false / runs < 0.12


def test_a_pair_that_is_more_than_its_sum_is_found() -> None:
    rows, choices = drawn(150, lambda c: 0.08 * (c["context"] == "psa" and c["head"] == "ssa"), noise=0.01)
    table = interactions(rows, choices)

    first = table[0]
    assert (first["question"], first["other_question"]) == ("context", "head")
    # Of the cell's 0.08, a sum of effects explains 0.08/3 + 0.08/2 - 0.08/6 of it: a third is left.
    joint = next(r for r in table if (r["option"], r["other_option"]) == ("psa", "ssa"))
    assert joint["departure"] == pytest.approx(0.08 / 3, abs=0.006)
    assert joint["p"] < 0.001
    assert joint["trials"] == sum(c["context"] == "psa" and c["head"] == "ssa" for c in choices.values())
    # A nested question was never asked under another option of its own parent: there is no such pair.
    assert not any({"context", "context.ppm.bins"} == {r["question"], r["other_question"]} for r in table)
    assert [r["p"] for r in table if r["p"] is not None and r["p"] < 0.05 and r["question"] != "context"] == []


def test_seeds_are_averaged_first() -> None:
    """Fifty seeds of two networks are two networks, whatever a count of trials would claim."""
    rng = np.random.default_rng(0)
    rows = [trial(n, 0.4 + 0.1 * (n % 2) + 0.001 * rng.standard_normal()) for n in range(100)]
    choices = {n: {"context": ("none", "ppm")[n % 2]} for n in range(100)}
    found = by_option(effects(rows, choices))

    assert found["context", "ppm"]["trials"] == 50
    assert found["context", "ppm"]["low"] is None
    assert "only 1 network" in found["context", "ppm"]["note"]


def test_only_final_trials_count() -> None:
    rows, choices = drawn(40, lambda c: CONTEXTS[c["context"]], noise=0.001)
    more = [trial(100 + n, 0.0, state=state) for n, state in enumerate(["stopped", "failed", "paused", "running"])]
    more += [trial(110, None), trial(111, float("nan")), trial(112, 0.0, outside=True)]
    for row in more:
        choices[row["id"]] = {"context": "none", "head": "ssa", "training.learning_rate": "0.001", "data": "shapes"}

    assert effects([*rows, *more], choices) == effects(rows, choices)


def test_questions_that_change_together_are_said_to() -> None:
    rows, choices = drawn(60, lambda c: CONTEXTS[c["context"]], noise=0.001)
    for chosen in choices.values():
        chosen["align"] = "ifa" if chosen["head"] == "ssa" else "bilinear"
    found = by_option(effects(rows, choices))

    for key, other in ((("head", "ssa"), "align"), (("align", "ifa"), "head")):
        assert (found[key]["low"], found[key]["p"], found[key]["miou_per_gflop"]) == (None, None, None)
        assert f"cannot be told apart from {other}" in found[key]["note"]
    # What is not concerned is judged as before.
    assert found["context", "psa"]["p"] < 0.001
    assert found["context", "psa"]["note"] == ""
    assert not any(r["low"] is not None for r in interactions(rows, choices) if r["question"] == "align")


def test_a_width_that_places_share_is_one_question() -> None:
    rows, choices = drawn(60, lambda c: CONTEXTS[c["context"]], noise=0.001)
    for number in choices:
        choices[number] |= dict.fromkeys(("align.fpn.channels", "head.linear.channels"), ("256", "512")[number % 2])
    found = by_option(effects(rows, choices))

    assert found["align.fpn.channels = head.linear.channels", "256"]["low"] is not None


def test_few_networks_are_said_to_be_few() -> None:
    table = effects(*drawn(8, lambda c: CONTEXTS[c["context"]]))

    assert table
    assert all(row["low"] is None and row["p"] is None for row in table)
    assert all("too few networks to judge (8 for " in row["note"] and "by ridge" in row["note"] for row in table)
    assert all(row["low"] is None for row in interactions(*drawn(8, lambda _: 0.0)))


def test_a_rare_option_is_not_judged() -> None:
    rows, choices = drawn(60, lambda c: CONTEXTS[c["context"]])
    for number, chosen in choices.items():
        chosen["refine"] = "ocr" if number < 2 else "none"
    found = by_option(effects(rows, choices))

    assert (found["refine", "ocr"]["low"], found["refine", "ocr"]["note"]) == (None, "only 2 networks")
    # With two options, the other's difference is the same one.
    assert (found["refine", "none"]["low"], found["refine", "none"]["note"]) == (
        None,
        "only 2 networks to compare with",
    )


def test_numbers_of_a_range_are_grouped() -> None:
    table = effects(*drawn(90, lambda c: 0.05 * (float(c["training.learning_rate"]) > 2e-3), noise=0.005))
    rates = [row for row in table if row["question"] == "training.learning_rate"]

    assert [row["trials"] for row in rates] == [30, 30, 30]
    assert rates[0]["option"].startswith("0.0001")
    assert all("grouped by thirds" in row["note"] for row in rates)
    assert rates[2]["low"] > 0


@pytest.mark.parametrize(
    "rows", [[], [trial(0, 0.5)], [trial(0, None, state="failed"), trial(1, None, state="failed")]]
)
def test_what_cannot_be_compared_has_no_effects(rows: Table) -> None:
    choices = {0: {"context": "none"}, 1: {"context": "ppm"}}

    assert effects(rows, choices) == []
    assert interactions(rows, choices) == []


def test_equal_values_have_no_interval() -> None:
    rows, choices = drawn(60, lambda _: 0.0, noise=0.0)
    table = effects(rows, choices)

    assert all(row["low"] is None and row["p"] is None for row in table)
    assert all("every network has the same mIoU" in row["note"] for row in table)
    assert [row["difference"] for row in table] == pytest.approx([0.0] * len(table), abs=1e-12)


def test_unknown_costs_leave_the_scores() -> None:
    rows, choices = drawn(60, lambda c: CONTEXTS[c["context"]])
    del rows[0]["macs"]
    rows[1]["macs"] = None
    table = effects(rows, choices)

    assert all(row["gflops"] is None and row["miou_per_gflop"] is None for row in table)
    assert by_option(table)["context", "psa"]["p"] < 0.001
