"""The sampler `surrogate`: what it proposes, by hand and in whole sweeps; real spaces, costs and stores."""

from __future__ import annotations

import json
import math
from collections import Counter

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from blocks.errors import SpaceError
from nas.cli import app
from nas.propose import OptunaProposer, Progress
from nas.propose.modelled import _MARGIN, Modelled, _expected
from nas.space import Space
from nas.store import Store
from runners.data import dataset
from runners.protocol import Epoch, Failed, Finished, Interrupted, Stopped

TEXT = """
data: {shapes: {size: [32, 32]}}
shared: {width: {choice: [8, 16]}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  context: {choice: {none: , ppm: {channels: {shared: width}, bins: {choice: [[1, 2], [1, 3]]}}}}
  align: {bilinear: {channels: {shared: width}}}
training: {epochs: 3}
forbid: [{backbone.timm.model: test_resnet, context.ppm.bins: [[1, 3]]}]
search: {sampler: {surrogate: {startup: 3}}, trials: 100, early_stopping: none, seed: 3}
"""
NETWORKS = 10
WIDE = """
data: {shapes: {size: [32, 32]}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  context: {choice: {none: , ppm: {channels: {int: [8, 512], step: 8}}}}
  align: {bilinear: {channels: {int: [8, 256], step: 8}}}
training: {epochs: 3, learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}
search: {sampler: {surrogate: {startup: 3}}, trials: 9, early_stopping: none, seed: 3}
"""


# The hypervolume that is to be expected


def improvement(scores, bought, score, cost, high):
    """What one network adds to the hypervolume above a score of 0 and below the highest costs."""
    known = np.c_[-scores, bought]
    more = np.vstack([known, [-score, *cost]])
    reference = [0.0, *high]
    return moocore.hypervolume(more, ref=reference) - moocore.hypervolume(known, ref=reference)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([1, 2]))
def test_expected_improvement_is_the_mean_improvement_of_the_hypervolume(seed, costs):
    rng = np.random.default_rng(seed)
    scores, bought = rng.uniform(0.1, 0.8, 6), rng.uniform(10, 14, (6, costs))
    mean, spread, prices = rng.uniform(0.2, 0.9, 4), rng.uniform(0.05, 0.3, 4), rng.uniform(10, 14, (4, costs))
    expected = _expected(mean, spread, prices, scores, bought)
    low, high = np.vstack([bought, prices]).min(0), np.vstack([bought, prices]).max(0)
    high = high + _MARGIN * (high - low)
    for m, s, price, gain in zip(mean, spread, prices, expected, strict=True):
        drawn = [improvement(scores, bought, score, price, high) for score in rng.normal(m, s, 800)]
        found, error = np.mean(drawn), np.std(drawn) / math.sqrt(len(drawn))
        volume = float(np.prod(high - low))
        # 128 points on the cost axes are off by less than a hundredth of the volume in a row, and a little more in two.
        coarse = (0.01 if costs == 1 else 0.03) * max(m + s, 0.1)
        assert gain * volume == pytest.approx(found, abs=5 * error + coarse * volume)


def test_what_is_dominated_for_sure_adds_nothing_and_the_costliest_may_add():
    scores, bought = np.array([0.5, 0.6]), np.array([[1.0], [2.0]])
    worse, dearest = _expected(np.array([0.3, 0.9]), np.array([1e-6, 1e-6]), np.array([[1.5], [3.0]]), scores, bought)
    assert worse == pytest.approx(0.0, abs=1e-9)
    assert dearest > 0


def test_equal_costs_leave_the_score_to_decide():
    gains = _expected(np.array([0.4, 0.6]), np.full(2, 0.1), np.ones((2, 1)), np.array([0.5]), np.ones((1, 1)))
    assert 0 < gains[0] < gains[1]


# By hand


def epoch_of(number, miou, **more):
    figures = {"loss": 1.0, "pixel_accuracy": 0.5, "learning_rate": 0.1, "seconds": 1.0, "train_memory_bytes": 1}
    return Epoch(**({"epoch": number, "miou": miou, "class_iou": ()} | figures | more))


def priced(candidate, unit=1.0):
    """A rule for costs, so that nothing needs to be built."""
    answers = candidate.answers
    width = answers.get("architecture.align.bilinear.channels", answers.get("shared.width", 8))
    ppm = answers["architecture.context"] == "ppm"
    more = answers.get("architecture.context.ppm.channels", 16) if ppm else 1
    return {"macs": unit * (1e6 + 1e5 * width + 1e4 * more), "params": unit * 1e3 * width}


def scored(candidate, scale=1.0):
    width = math.log(priced(candidate)["macs"] / 1e6)
    return scale * (0.3 + 0.1 * (candidate.answers["architecture.backbone.timm.model"] == "test_resnet") + 0.05 * width)


def driven(model, count, *, scale=1.0, unit=1.0, first=0):
    """Train what the model proposes, one after another."""
    found = []
    for trial in range(first, first + count):
        candidate = model.propose()
        if candidate is None:
            break
        model.begin(trial, candidate.answers, 3, priced(candidate, unit))
        model.train(trial)
        for epoch in (1, 2, 3):
            miou = scored(candidate, scale) * epoch / 3
            model.hear(trial, epoch, {"miou": miou, "pixel_accuracy": miou})
        model.end(trial, {"state": "finished"})
        found.append(candidate.answers)
    return found


def modelled(text=WIDE, *sets, unit=1.0):
    return Modelled(Space.loads(text, sets=sets), lambda candidate: priced(candidate, unit))


def test_nothing_is_proposed_twice_and_a_small_space_comes_to_its_end():
    model = modelled(TEXT)
    found = driven(model, 100)
    assert len(found) == len({json.dumps(dict(a)) for a in found}) == NETWORKS
    assert model.propose() is None


def test_other_units_of_scores_and_costs_propose_the_same_networks():
    plain = driven(modelled(TEXT), NETWORKS)
    assert driven(modelled(TEXT), NETWORKS, scale=10.0) == plain
    assert driven(modelled(TEXT, unit=1e-3), NETWORKS, unit=1e-3) == plain


def test_the_seed_decides():
    assert driven(modelled(), 6) == driven(modelled(), 6)
    assert driven(modelled(), 6) != driven(modelled(WIDE, "search.seed=4"), 6)


def test_what_is_in_training_pushes_proposals_elsewhere():
    free, busy = modelled(), modelled()
    driven(free, 6)
    driven(busy, 6)
    first, same = free.propose(), busy.propose()
    assert first.answers == same.answers
    # In one it is given up, in the other it is in training: only there it counts as what it is believed to become.
    for model in (free, busy):
        model.begin(6, first.answers, 3, priced(first))
    busy.train(6)
    assert free.propose().answers != first.answers
    assert busy.propose().answers != first.answers
    _, places = busy._pool.candidates(np.random.default_rng(0), [])
    known = [k for k in busy._known.values() if k.scores]
    # Where it is about to be trained there is less to gain than where it is not.
    there = free._encoder(first.answers)[None]
    assert busy._gains(np.vstack([there, places]), known)[0] < free._gains(np.vstack([there, places]), known)[0]


def test_failed_and_diverged_trials_are_no_results():
    model = modelled()
    driven(model, 4)
    for trial, miou in ((4, math.nan), (5, None)):
        candidate = model.propose()
        model.begin(trial, candidate.answers, 3, priced(candidate))
        model.train(trial)
        model.hear(trial, 1, {"miou": miou})
        model.end(trial, {"state": "failed"})
    assert len(driven(model, 3, first=6)) == 3


def test_with_failures_alone_it_goes_on_spreading():
    model, found = modelled(), set()
    for trial in range(60):  # more than are surveyed
        candidate = model.propose()
        found.add(json.dumps(dict(candidate.answers)))
        model.begin(trial, candidate.answers, 3, {})
        model.end(trial, {"state": "failed"})
    assert len(found) == 60


def test_equal_scores_are_no_mistake():
    model = modelled()
    for trial in range(6):
        candidate = model.propose()
        model.begin(trial, candidate.answers, 3, priced(candidate))
        model.hear(trial, 3, {"miou": 0.1})
        model.end(trial, {"state": "finished"})
    assert model.propose() is not None


def test_costs_are_counted_once_even_where_nobody_knows_them():
    asked = []
    model = Modelled(Space.loads(WIDE), asked.append)
    found = []
    for trial in range(6):
        candidate = model.propose()
        found.append(candidate)
        model.begin(trial, candidate.answers, 3, {})
        model.hear(trial, 3, {"miou": 0.1 + 0.01 * trial})
        model.end(trial, {"state": "finished"})
    assert len(asked) == 48
    assert len(found) == 6


@pytest.mark.parametrize(
    "objectives",
    [
        "{miou: max}",
        "{pixel_accuracy: max, params: min}",
        "{miou: max, macs: min, params: min}",
        "{miou: max, macs: min}",
    ],
)
def test_one_score_with_any_number_of_costs(objectives):
    model = modelled(WIDE, f"objectives={objectives}")
    found = driven(model, 7)
    assert len({json.dumps(dict(a)) for a in found}) == 7


def test_a_measured_objective_and_limit_is_learnt_from_those_that_were_trained():
    sets = ("objectives={miou: max, latency_ms: min}", "budget={latency_ms: 0.5}")
    model = modelled(WIDE, *sets)
    late = []
    for trial in range(12):
        candidate = model.propose()
        latency = priced(candidate)["params"] / 1e5  # 0.08 to 2.56 ms
        late.append(latency > 0.5)
        model.begin(trial, candidate.answers, 3, priced(candidate))
        model.train(trial)
        if late[-1]:
            model.end(trial, {"state": "rejected", "exceeded": "latency_ms", "exceeded_value": latency})
            continue
        model.hear(trial, 3, {"miou": scored(candidate), "latency_ms": latency})
        model.end(trial, {"state": "finished", "latency_ms": latency})
    assert not all(late)
    assert sum(late[6:]) <= 1


@pytest.mark.slow
def test_a_promising_kind_of_network_is_proposed_more_often():
    found = driven(modelled(WIDE, "search.trials=100"), 16)
    resnets = sum(a["architecture.backbone.timm.model"] == "test_resnet" for a in found[6:])
    assert resnets >= 7


# In sweeps


def proposer_of(space, store, study_id, **more):
    data = dataset(space.data, {})
    known = {"data": data.info, "data_fingerprint": data.fingerprint()}
    return OptunaProposer(space, store, study_id, progress=Progress(space.search.trials), **known, **more)


def begin(space, store, name="s"):
    return store.create_study(
        name, space=space.text, objectives=space.objectives, budget=space.budget, seed=space.search.seed
    )


def carry_out(proposer, most=1000, outcome=None):
    trained = []
    while len(trained) < most and (proposal := proposer.propose()) is not None:
        proposer.started(proposal.trial, host="here", device="cpu")
        final = int(proposal.architecture.fingerprint[:4], 16) / 2**16
        for number in range(proposal.done + 1, proposal.epochs + 1):
            proposer.epoch(proposal.trial, epoch_of(number, final * number / proposal.epochs))
        proposer.ended(proposal.trial, outcome or Finished())
        trained.append(proposal)
    return trained


def test_a_sweep_exhausts_a_small_space_and_says_so(store):
    space = Space.loads(TEXT)
    assert space.count() == NETWORKS
    proposer = proposer_of(space, store, begin(space, store))
    trained = carry_out(proposer)
    assert len({p.architecture.fingerprint for p in trained}) == len(trained) == NETWORKS
    assert proposer.progress.ending == f"the space is exhausted: all {NETWORKS} networks in it are known"


@pytest.mark.slow
def test_a_limit_is_kept(store):
    free = Space.loads(WIDE, sets=["search.trials=8"])
    costs = sorted(p.known["macs"] for p in carry_out(proposer_of(free, store, begin(free, store, "free"))))
    space = Space.loads(WIDE, sets=[f"budget.macs={costs[3]}", "training.weight_decay=0.5"])
    study_id = begin(space, store)
    trained = carry_out(proposer_of(space, store, study_id))
    assert len(trained) == 9
    assert all(p.known["macs"] <= costs[3] for p in trained)
    assert len(store.trials(study_id, states=["rejected"])) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("cut", [2, 5])
@pytest.mark.parametrize("end", [None, Interrupted()])
def test_a_resumed_search_proposes_what_an_undisturbed_one_does(store, cut, end):
    whole = Space.loads(WIDE, sets=["search.trials=8"])
    expected = [p.architecture for p in carry_out(proposer_of(whole, store, begin(whole, store, "whole")))]
    # Another weight decay makes another result: else this study would replay the first.
    space = Space.loads(WIDE, sets=["search.trials=8", "training.weight_decay=0.5"])
    study_id = begin(space, store)
    first = proposer_of(space, store, study_id)
    found = [p.architecture for p in carry_out(first, most=cut)]
    if end is not None:
        left = first.propose()
        first.started(left.trial, host="here", device="cpu")
        first.epoch(left.trial, epoch_of(1, 0.01))
        first.ended(left.trial, end)
    found += [p.architecture for p in carry_out(proposer_of(space, store, study_id))]
    assert len(found) == 8
    # What was cut short goes on with what it had: its curve is another one.
    compared = 8 if end is None else cut + 1
    assert found[:compared] == expected[:compared]


def test_stopped_failed_and_replayed_trials_come_back_with_the_study(store):
    space = Space.loads(WIDE, sets=["search.trials=12"])
    study_id = begin(space, store)
    first = proposer_of(space, store, study_id)
    carry_out(first, most=4)
    for outcome in (Stopped(rung=1, missing=0.5), Failed(reason="out of memory")):
        proposal = first.propose()
        first.started(proposal.trial, host="here", device="cpu")
        first.epoch(proposal.trial, epoch_of(1, 0.2))
        first.ended(proposal.trial, outcome)
    again = proposer_of(space, store, study_id)
    for trial, known in first.model._known.items():
        other = again.model._known[trial]
        assert (other.scores, other.costs, other.failed) == (known.scores, known.costs, known.failed)
        assert np.array_equal(other.place, known.place, equal_nan=True)
    assert len(carry_out(again)) == 6
    second = begin(space, store, "second")
    other = proposer_of(space, store, second)
    carry_out(other, most=3)
    states = Counter(row["state"] for row in store.trials(second))
    assert states["replayed"] > 0
    assert all(known.scores for known in other.model._known.values())


@pytest.mark.slow
def test_a_real_tiny_sweep(tmp_path):
    file = tmp_path / "s.yaml"
    text = WIDE.replace("[32, 32]", "[64, 64], train: 8, val: 4").replace("epochs: 3", "epochs: 1, batch: 4")
    file.write_text(text.replace("trials: 9", "trials: 5"))
    store = tmp_path / "nas.db"
    arguments = ["sweep", str(file), "--store", str(store), "--runner", "local"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with Store.open(str(store)) as opened:
        rows = opened.trials(opened.find_study("s")["id"])
    assert [row["state"] for row in rows] == ["finished"] * 5
    assert len({row["identity"] for row in rows}) == 5


# When the space is read


@pytest.mark.parametrize(
    ("objectives", "scores"), [("{macs: min, params: min}", "[]"), ("{miou: max, pixel_accuracy: max}", ".*accuracy.*")]
)
def test_it_needs_one_score(objectives, scores, tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(WIDE + f"objectives: {objectives}\n")
    line = WIDE.splitlines().index(next(line for line in WIDE.splitlines() if "sampler" in line)) + 1
    with pytest.raises(SpaceError, match=rf"s\.yaml:{line}:10: The sampler surrogate needs one score") as caught:
        Space.load(file)
    assert "take tpe" in str(caught.value)
