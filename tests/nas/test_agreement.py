"""How well a proxy ranks: the figures on rankings that are known, and which networks they are found on."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from blocks.errors import QueryError
from nas.analysis.agreement import _resampled, agreement, chosen, paired_networks
from nas.report.agreement import of_epochs, of_studies
from nas.report.progress import took_gpu
from nas.space import Space
from nas.store import Store
from nas.study.curves import import_curves
from runners.protocol import Stopped

TABLE = Path(os.environ.get("CAMVID_CURVES") or Path(__file__).parents[2] / "../shared/data/camvid_curves.jsonl")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def study_of(store, name):
    return store.create_study(name, space="", objectives={"miou": "max", "macs": "min"}, budget={}, seed=0)


@pytest.fixture
def trained(store, add):
    """Put networks with these scores into a study, each known by its place."""

    def trained(study, scores, *, rate, **more):
        return [
            add(store, study, context="ppm", channels=16 * (1 + n), rate=rate, mious=s, **more)
            for n, s in scores.items()
        ]

    return trained


def row(fingerprint, miou, *, protocol="long", identity=None, seconds=6.0, state="finished", number=0):
    identity = identity or f"{fingerprint} {protocol} {number}"
    return {
        "fingerprint": fingerprint,
        "protocol_fingerprint": protocol,
        "identity": identity,
        "miou": miou,
        "state": state,
        "train_seconds": seconds,
        "number": number,
    }


def test_tau_counts_the_pairs_that_are_the_other_way_round():
    # Of ten pairs one is: (9 - 1) / 10.
    found = agreement([1, 2, 3, 5, 4], [1, 2, 3, 4, 5])
    assert found.tau == pytest.approx(0.8)
    assert found.spearman == pytest.approx(0.9)
    assert agreement([5, 4, 3, 2, 1], [1, 2, 3, 4, 5]).tau == pytest.approx(-1)
    # A tie on one side, tau-b: 5 pairs agree, of 5 and 6 that are not tied.
    assert agreement([1, 1, 2, 3], [1, 2, 3, 4]).tau == pytest.approx(5 / 30**0.5)


def test_equal_scores_are_no_ranking():
    found = agreement([0.5] * 12, list(range(12)))
    assert (found.tau, found.low, found.high, found.spearman) == (None, None, None, None)


def test_the_best_by_the_proxy_and_what_they_lack():
    full = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    proxy = np.array([6.0, 1.0, 2.0, 5.0, 4.0, 3.0])
    assert chosen(proxy, full, 1) == pytest.approx((1, 0, 1 / 6, 0.5))
    # The proxy takes those with 0.1, 0.4 and 0.5; the best are 0.4, 0.5 and 0.6.
    assert chosen(proxy, full, 3) == pytest.approx((3, 2, 1.5, 0.1))
    found = agreement(proxy, full, top=3)
    assert (found.top.k, found.regret) == (3, pytest.approx(0.5))
    assert agreement(proxy, full, top=10).top.k == 3


@pytest.mark.parametrize("n", [0, 1, 2])
def test_two_networks_are_no_ranking(n):
    with pytest.raises(QueryError, match=f"needs 3 networks that finished under both: got networks={n}"):
        agreement(range(n), range(n))


def test_resamples_are_ranked_as_scipy_ranks_them():
    chance = np.random.default_rng(1)
    proxy = chance.normal(size=40).round(1)
    full = (proxy + chance.normal(size=40)).round(1)
    times = chance.multinomial(40, np.full(40, 1 / 40), 20)
    expected = [stats.kendalltau(np.repeat(proxy, k), np.repeat(full, k)).statistic for k in times]
    assert _resampled(proxy, full, times.astype(np.float32)) == pytest.approx(expected)


def test_the_interval_covers_the_truth():
    chance, held = np.random.default_rng(2), 0
    truth = 2 / np.pi * np.arcsin(0.5**0.5)  # of a normal pair that is correlated so
    for _ in range(200):
        proxy = chance.normal(size=30)
        found = agreement(proxy, proxy + chance.normal(size=30))
        assert found.low < found.tau < found.high
        held += found.low <= truth <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_few_networks_have_no_interval():
    nine = agreement(range(9), range(9))
    assert (nine.tau, nine.low, nine.high) == (pytest.approx(1), None, None)
    assert agreement(range(10), range(10)).low is not None


def test_networks_are_paired_by_architecture_and_averaged_over_seeds():
    short = [row("a", 0.2, protocol="short", number=1), row("a", 0.4, protocol="short", number=2, seconds=2.0)]
    short += [row("b", 0.1, protocol="short"), row("c", 0.9, protocol="short")]
    whole = [row("b", 0.3, number=4), row("a", 0.5, number=7, seconds=60.0), row("d", 0.9)]
    found, same = paired_networks(short, whole, "miou")
    assert same == 0
    assert [(pair.row["fingerprint"], pair.trials) for pair in found] == [("b", (1, 1)), ("a", (2, 1))]
    assert found[1].scores == pytest.approx((0.3, 0.5))
    assert found[1].seconds == pytest.approx((4.0, 60.0))


def test_what_was_trained_alike_or_not_to_its_end_is_left_out():
    short = [row("a", 0.2), row("b", 0.2, protocol="short"), row("c", 0.2, protocol="short", state="stopped")]
    whole = [row("a", 0.3), row("b", 0.3), row("c", 0.3)]
    found, same = paired_networks(short, whole, "miou")
    assert ([pair.row["fingerprint"] for pair in found], same) == (["b"], 1)


def test_a_replay_took_no_time():
    short = [row("a", 0.2, protocol="short")]
    whole = [row("a", 0.3, identity="x", seconds=0.0, state="replayed")]
    (pair,) = paired_networks(short, whole, "miou").found
    assert pair.seconds[0] == 6.0
    assert np.isnan(pair.seconds[1])


def test_two_studies(store, trained):
    order = [3, 0, 1, 2, 5, 4, 7, 6, 9, 8, 11, 10]
    trained(study_of(store, "short"), {n: (0.1, 0.02 * place) for n, place in enumerate(order)}, rate=1e-3)
    trained(study_of(store, "long"), {n: (0.1, 0.2, 0.03 * n) for n in range(12)}, rate=1e-2)
    trained(store.find_study("long")["id"], {20: (0.9, 0.9, 0.9)}, rate=1e-2)
    found = of_studies(store, "short", "long", top=4)
    inverted = sum(order[a] > order[b] for a, b in itertools.combinations(range(12), 2))
    assert found.row["networks"] == 12
    assert found.row["tau"] == pytest.approx(1 - 2 * inverted / 66)
    assert found.row["tau_low"] < found.row["tau"] < found.row["tau_high"]
    assert (found.row["top"], found.row["shared"], found.row["by_chance"]) == (4, 4, pytest.approx(16 / 12))
    # The proxy's best is the last but one.
    assert found.row["regret"] == pytest.approx(0.03)
    assert found.row["regret_top"] == pytest.approx(0.0)
    # Two epochs of two seconds against three.
    assert found.row["proxy_hours"] == pytest.approx(12 * 4 / 3600)
    assert found.row["full_hours"] == pytest.approx(12 * 6 / 3600)
    assert found.row["share"] == pytest.approx(2 / 3)
    assert found.notes == []


def test_two_studies_of_one_recipe_say_nothing(store, trained):
    for name in ("one", "two"):
        trained(study_of(store, name), {n: (0.1 * n,) * 3 for n in range(5)}, rate=1e-3)
    with pytest.raises(QueryError, match="needs two recipes: got networks trained alike=5"):
        of_studies(store, "one", "two")


def test_what_a_reader_should_know(store, trained):
    short, whole = study_of(store, "short"), study_of(store, "long")
    scores = {n: (0.1, 0.1, 0.1 * n) for n in range(4)}
    trained(short, scores, rate=1e-3)
    trained(short, scores, rate=1e-3, seed=1)
    trained(whole, scores, rate=1e-2)
    trained(whole, {7: (0.1,)}, rate=1e-2, outcome=Stopped(1, 0.5))
    for study in (short, whole):
        trained(study, {9: (0.1, 0.2, 0.3)}, rate=1e-4)
    found = of_studies(store, "short", "long")
    assert found.row["networks"] == 4
    assert found.notes == [
        "1 network was trained the same way in both and left out.",
        "A network that was trained several times in a study counts with its mean.",
        "Early stopping ended 1 trial of long: only survivors are compared.",
    ]


def test_early_epochs_of_one_study(store, trained):
    # After the first epoch the ranking is turned over, after the second it stands.
    trained(study_of(store, "one"), {n: (0.9 - 0.1 * n, 0.1 + 0.01 * n, 0.1 * n) for n in range(6)}, rate=1e-3)
    first, second = of_epochs(store, "one", top=1)
    assert (first.row["epoch"], first.row["tau"], first.row["shared"]) == (1, pytest.approx(-1), 0)
    assert (second.row["epoch"], second.row["tau"], second.row["regret"]) == (2, pytest.approx(1), 0)
    assert (first.row["share"], second.row["share"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert [each.row["epoch"] for each in of_epochs(store, "one", epochs=[2])] == [2]
    for epoch in (0, 3):
        with pytest.raises(QueryError, match=r"--epoch needs an epoch before the last \(3\)"):
            of_epochs(store, "one", epochs=[epoch])


def test_a_condition_chooses_the_networks(store, trained):
    trained(study_of(store, "one"), {n: (0.1, 0.2, 0.1 * n) for n in range(6)}, rate=1e-3)
    (found, _) = of_epochs(store, "one", where="context.ppm.channels < 65")
    assert found.row["networks"] == 4


def test_a_study_without_results(store):
    study_of(store, "empty")
    with pytest.raises(QueryError, match="networks=0"):
        of_epochs(store, "empty")


@pytest.mark.skipif(not TABLE.is_file(), reason=f"no recorded curves at {TABLE}")
def test_recorded_curves_rank_as_their_readme_says(tmp_path):
    file = str(tmp_path / "nas.db")
    space = Space.load(BENCHMARKS / "camvid_curves.yaml")
    import_curves(TABLE, space, BENCHMARKS / "camvid_columns.yaml", study="camvid", store=file)
    with Store.open(file, create=False) as store:
        told = of_epochs(store, "camvid")
    taus = [round(each.row["tau"], 2) for each in told]
    assert taus == [-0.09, 0.66, 0.78, 0.78, 0.86, 0.88, 0.93]
    assert all(each.row["networks"] == 238 for each in told)


@pytest.mark.parametrize(
    ("device", "counted"),
    [
        ("cpu x86_64", False),
        ("cpu", False),
        ("mps", False),
        (None, False),
        ("cuda NVIDIA H200", True),
        ("NVIDIA H200", True),
    ],
)
def test_hours_are_gpu_hours_where_there_is_a_gpu(device, counted):
    assert took_gpu({"device": device}) is counted
