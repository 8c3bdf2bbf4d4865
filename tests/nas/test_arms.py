"""The table of arms: from rows in a store to what a paper prints."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from blocks.errors import QueryError
from nas.cli import app
from nas.report.arms import comparison, records, sheet
from nas.report.sheet import written
from nas.store import choices_of
from runners.protocol import Failed, Finished, Rejected, Stopped

SCORES = {"plain": [0.40, 0.41, 0.42], "ppm": [0.43, 0.45, 0.44], "psa": [0.40, 0.43, 0.41]}


@pytest.fixture
def arm(store, study_id, architecture_of, protocol_of, epoch_of):
    """Let a training of an arm live its life."""

    def arm(
        name,
        context,
        seed,
        miou=None,
        *,
        outcome=None,
        macs=1_000_000_000,
        accumulation=1,
        study=study_id,
        channels=512,
    ):
        architecture, protocol = architecture_of(context, channels=channels), protocol_of()
        trial_id = store.propose(
            study,
            store.next_number(study),
            identity=f"{architecture.fingerprint}{seed}",
            architecture=architecture,
            protocol=protocol,
            seed=seed,
            cost={"params": macs // 100, "macs": macs, "macs_conv": macs - 1, "activation_bytes": 4096},
            answers={},
            choices=choices_of(architecture, protocol),
            epochs=1,
            origin="arm",
            arm=name,
        )
        if miou is not None:
            store.epoch(trial_id, replace(epoch_of(1, miou), accumulation=accumulation))
        store.end(trial_id, outcome or Finished())
        return trial_id

    return arm


@pytest.fixture
def filled(arm):
    for seed in range(3):
        for name, scores in SCORES.items():
            arm(name, {"plain": "none"}.get(name, name), seed, scores[seed])


def cells(found):
    ready = sheet(found)
    return [dict(zip(ready.headings, row, strict=True)) for row in ready.rows]


@pytest.mark.usefixtures("filled")
def test_a_row_has_costs_mean_spread_difference_interval_and_corrected_p(store):
    found = comparison(store, "camvid", baseline="plain")
    plain, ppm, psa = cells(found)
    assert plain == {
        "arm": "plain", "context": "none", "parameters": "10.0 M", "MACs": "1.00 G", "mIoU [%]": "41.00 ± 1.00 (3)",
        "difference": "", "95 % interval": "", "p": "",
    }  # fmt: skip
    # Differences .03, .04, .02: mean .03, deviation .01, t = .03 / (.01 / sqrt 3) = 5.196 on two degrees of freedom.
    assert (ppm["difference"], ppm["95 % interval"]) == ("+3.00", "[+0.52, +5.48]")
    assert [record["p"] for record in records(found)][1:] == pytest.approx([0.0351, 0.7418], abs=1e-4)
    assert [record["p_holm"] for record in records(found)][1:] == pytest.approx([0.0702, 0.7418], abs=1e-4)
    assert (ppm["p"], psa["p"]) == ("0.070", "0.742")


@pytest.mark.usefixtures("filled")
def test_the_best_mean_alone_is_bold(store):
    ready = sheet(comparison(store, "camvid"))
    assert ready.bold == {(1, ready.headings.index("mIoU [%]"))}


@pytest.mark.usefixtures("filled")
def test_the_caption_says_what_is_shared_and_why_this_test(store):
    caption = sheet(comparison(store, "camvid", baseline="plain")).caption
    for said in ("data shapes (size [120,160])", "backbone timm (model resnet18)", "epochs 3", "seeds 0, 1, 2", "paired t-test", "because runs of one seed share", "Holm's method for 2 comparisons", "only large effects"):  # fmt: skip
        assert said in caption
    assert "context" not in caption.split("mIoU")[0]


@pytest.mark.usefixtures("filled")
def test_iterations_are_said_where_the_recipe_counts_in_them(store):
    found = comparison(store, "camvid")
    for counted, said in (("0", False), ("80000", True)):
        shared = {**found.shared, "training.iterations": counted}
        assert ("iterations 80000" in sheet(dataclasses.replace(found, shared=shared)).caption) is said
        assert ("iterations" in sheet(dataclasses.replace(found, shared=shared)).caption) is said


@pytest.mark.usefixtures("filled")
def test_without_a_baseline_there_is_no_difference(store):
    found = comparison(store, "camvid")
    assert "difference" not in sheet(found).headings
    assert "no baseline is named" in sheet(found).caption
    with pytest.raises(QueryError, match="Did you mean 'plain'"):
        comparison(store, "camvid", baseline="plane")


def test_fewer_than_three_seeds_are_not_tested(store, arm):
    for seed in range(2):
        arm("plain", "none", seed, 0.4 + seed / 100)
        arm("ppm", "ppm", seed, 0.5)
    found = comparison(store, "camvid", baseline="plain")
    assert cells(found)[1]["difference"] == "+9.50"
    assert "p" not in sheet(found).headings
    assert "Where fewer than 3 seeds are common no test is possible." in sheet(found).caption
    assert "paired" not in sheet(found).caption


def test_one_seed_has_no_deviation(store, arm):
    arm("plain", "none", 0, 0.4)
    assert cells(comparison(store, "camvid", baseline="plain"))[0]["mIoU [%]"] == "40.00 (1)"


def test_equal_values_are_not_tested(store, arm):
    for seed in range(3):
        arm("plain", "none", seed, 0.4)
        arm("ppm", "ppm", seed, 0.4)
    found = comparison(store, "camvid", baseline="plain")
    assert cells(found)[1]["difference"] == "+0.00"
    assert records(found)[1]["p"] is None
    ready = sheet(found)
    assert {row for row, _ in ready.bold} == {0, 1}


def test_what_did_not_finish_is_told_and_does_not_count(store, arm):
    for seed in range(3):
        arm("plain", "none", seed, 0.4 + seed / 100)
        arm("big", "ppm", seed, outcome=Rejected("macs", 4e9, 2e9))
        arm("early", "psa", seed, 0.9, outcome=Stopped(1, 0.5))
    arm("odd", "aspp", 0, outcome=Failed("diverged"))
    arm("odd", "aspp", 1, 0.45, accumulation=4)
    plain, big, early, odd = cells(comparison(store, "camvid", baseline="plain"))
    assert plain["note"] == ""
    assert big["note"] == "3 rejected, macs 4.00 G > 2.00 G"
    assert (early["note"], early["mIoU [%]"]) == ("3 stopped", "")
    assert odd["note"] == "1 failed, 1 with batches taken in parts"
    assert odd["mIoU [%]"] == "45.00 (1)"
    ready = sheet(comparison(store, "camvid"))
    assert ready.bold == {(0, ready.headings.index("mIoU [%]"))}, "a mean of one seed is no rival to one of three"


def test_failures_only_are_a_table_without_figures(store, arm):
    arm("plain", "none", 0, outcome=Failed("no memory"))
    found = comparison(store, "camvid", baseline="plain")
    assert cells(found)[0]["note"] == "1 failed"
    assert "no final results yet" in sheet(found).caption


def test_options_that_differ_are_columns_and_those_of_one_arm_are_not(store, arm):
    arm("plain", "none", 0, 0.4)
    arm("narrow", "ppm", 0, 0.4, channels=64)
    arm("wide", "ppm", 0, 0.4, channels=512)
    found = comparison(store, "camvid", baseline="plain")
    assert found.places == ["context", "context.ppm.channels"]
    assert [row["context.ppm.channels"] for row in cells(found)] == ["-", "64", "512"]


def test_networks_of_a_search_are_rows_when_they_have_several_seeds(store, study_id, add):
    add(store, study_id, context="none", seed=0, mious=(0.1,))
    add(store, study_id, context="ppm", seed=0, mious=(0.2,))
    with pytest.raises(QueryError, match=r"trained=2. Compare arms with `nas ablate FILE`"):
        comparison(store, "camvid")
    for seed in (1, 2):
        add(store, study_id, context="none", seed=seed, mious=(0.1 + seed / 100,))
        add(store, study_id, context="ppm", seed=seed, mious=(0.3,))
    found = comparison(store, "camvid", baseline="trial 0")
    assert [each.name for each in found.arms] == ["trial 0", "trial 1"]
    assert [each.n for each in found.arms] == [3, 3]
    where = comparison(store, "camvid", where="context == 'ppm'")
    assert [each.name for each in where.arms] == ["trial 1"]


@pytest.mark.usefixtures("study_id")
def test_an_empty_study_says_what_to_do(store):
    with pytest.raises(QueryError, match=r"trials=0, trained=0. See `nas trials`; train some"):
        comparison(store, "camvid")


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    "verb", [("trials", "camvid"), ("front", "camvid", "--no-picture"), ("studies",), ("table", "camvid")]
)
def test_verbs_that_print_rows_set_them_for_papers_and_pages(store, verb):
    for format, opening in (("latex", r"\begin{table}"), ("html", "<table>")):
        done = CliRunner().invoke(app, [*verb, "--store", store.url, "--format", format])
        assert done.exit_code == 0, done.output
        assert done.output.startswith(opening)


def test_every_format_escapes_names(store, arm):
    name = r"<script>alert(1)</script> & \input{x} | 50%"
    for seed in range(3):
        arm("plain", "none", seed, 0.4 + seed / 100)
        arm(name, "ppm", seed, 0.5)
    found = comparison(store, "camvid", baseline="plain")
    ready = sheet(found)
    assert "<script" not in written(ready, "html")
    assert r"\input" not in written(ready, "latex")
    assert r"\<script\>" in written(ready, "md")
    assert name in written(ready, "table")
    assert json.loads(json.dumps(records(found)))[1]["arm"] == name
