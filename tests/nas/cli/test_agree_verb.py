"""`nas agree`."""

import json

import pytest


@pytest.fixture
def nas(store, add, said, monkeypatch):
    """The command on two studies of the same twelve networks."""
    for name, rate, scores in (
        ("short", 1e-3, {n: 0.02 * (n ^ 1) for n in range(12)}),
        ("long", 1e-2, {n: 0.03 * n for n in range(12)}),
    ):
        study = store.create_study(name, space="", objectives={"miou": "max", "macs": "min"}, budget={}, seed=0)
        for n, score in scores.items():
            add(store, study, context="ppm", channels=16 * (1 + n), rate=rate, mious=(0.5 - score, score))
    monkeypatch.setenv("NAS_STORE", store.url)
    return said


def test_two_studies(nas):
    done = nas("agree", "short", "long", "--top", "3", "--format", "json")
    (row,) = json.loads(done.out)
    assert (row["proxy"], row["full"], row["networks"], row["top"], row["shared"]) == ("short", "long", 12, 3, 2)
    assert row["tau"] == pytest.approx(1 - 2 * 6 / 66)
    told = nas("agree", "short", "long", "--top", "3")
    assert told.out.startswith("short as a proxy of long, by miou\n")
    assert (
        "The proxy's best network is 0.0300 miou below the best of all; of its best 3, the best one is 0.0000"
        in told.out
    )


def test_epochs_of_one_study(nas):
    (row,) = json.loads(nas("agree", "long", "--format", "json").out)
    assert (row["epoch"], row["tau"]) == (1, pytest.approx(-1))
    assert nas("agree", "long", "--epoch", "1").out.startswith("Early epochs of long as proxies of its last, by miou\n")


@pytest.mark.parametrize("format", ["csv", "md", "latex", "html"])
def test_it_is_typeset(nas, format):
    assert "0.818" in nas("agree", "short", "long", "--format", format).out


def test_the_networks_with_both_ranks(nas):
    rows = json.loads(nas("agree", "short", "long", "--networks", "--format", "json").out)
    assert len(rows) == 12
    assert {row["proxy_rank"] - row["full_rank"] for row in rows} == {1, -1}
    assert [row["proxy_rank"] - row["full_rank"] for row in rows] == [1] * 6 + [-1] * 6
    best = next(row for row in rows if row["full_rank"] == 1)
    assert (best["proxy_miou"], best["full_miou"]) == (pytest.approx(0.2), pytest.approx(0.33))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("short", "lon"), "Did you mean 'long'?"),
        (("short", "long", "--by", "mio"), "--by needs a score: got by='mio'. Did you mean 'miou'?"),
        (("short", "long", "--epoch", "1"), "--epoch needs one study alone"),
        (("short", "--by", "pixel_accuracy"), "--by needs two studies for anything but miou"),
        (("short", "--networks"), "--networks needs two studies, or one --epoch"),
        (("short", "--epoch", "2"), "--epoch needs an epoch before the last (2)"),
        (("short", "long", "--where", "context == 'psa'"), "needs 3 networks that finished under both: got networks=0"),
        (("short", "long", "--format", "xml"), "--format needs one of"),
    ],
)
def test_mistakes(nas, words, message):
    code, _, error = nas("agree", *words)
    assert code == 2
    assert error.startswith("nas: ")
    assert message in error


def test_networks_that_were_really_trained(trained, said):
    rows = json.loads(said("agree", "tiny", "--format", "json").out)
    assert [(row["epoch"], row["networks"], row["tau_low"]) for row in rows] == [(1, 3, None), (2, 3, None)]
    assert all(-1 <= row["tau"] <= 1 and 0 < row["share"] < 1 for row in rows)
