"""The proposer, driven by hand: real Optuna, a real store, real costs; only nothing is trained."""

from __future__ import annotations

import math
import re
from collections import Counter

import optuna
import pytest

from blocks.errors import RunError, SpaceError
from nas.propose import Mirror, OptunaProposer, Progress
from nas.propose.limits import Limits
from nas.space import Space
from runners.data import dataset
from runners.protocol import Epoch, Failed, Finished, Interrupted, Stopped

TEXT = """
data: {shapes: {size: [32, 32]}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  context: {choice: [none, ppm]}
  align: {bilinear: {channels: {choice: [8, 16]}}}
training: {epochs: 2}
search: {sampler: SAMPLER, trials: 100, early_stopping: none, seed: 3}
"""
NETWORKS = 8


def space_of(sampler="random", *sets):
    return Space.loads(TEXT.replace("SAMPLER", sampler), sets=sets)


def proposer_of(space, store, study_id, **more):
    data = dataset(space.data, {})
    return OptunaProposer(
        space,
        store,
        study_id,
        data=data.info,
        data_fingerprint=data.fingerprint(),
        progress=Progress(space.search.trials),
        **more,
    )


def begin(space, store, name="s"):
    return store.create_study(
        name, space=space.text, objectives=space.objectives, budget=space.budget, seed=space.search.seed
    )


def report(number, miou):
    return Epoch(
        epoch=number,
        loss=1.0,
        miou=miou,
        pixel_accuracy=0.5,
        class_iou=(0.1, None),
        learning_rate=0.1,
        seconds=1.0,
        train_memory_bytes=1,
    )


def carry_out(proposer, most=1000, outcome=None):
    """Play the runner: mIoU is a function of the network, so that equal networks score alike."""
    trained = []
    while len(trained) < most and (proposal := proposer.propose()) is not None:
        proposer.started(proposal.trial, host="here", device="cpu")
        miou = int(proposal.architecture.fingerprint[:4], 16) / 2**16
        for number in range(proposal.done + 1, proposal.epochs + 1):
            proposer.epoch(proposal.trial, report(number, miou))
        proposer.ended(proposal.trial, outcome or Finished())
        trained.append(proposal)
    return trained


def states(store, study_id):
    return Counter(row["state"] for row in store.trials(study_id))


@pytest.mark.parametrize("sampler", ["random", "grid", "nsga2", "nsga3", "tpe", "gp", "surrogate"])
def test_every_sampler_exhausts_a_small_space_and_repeats_nothing(sampler, store):
    space = space_of(sampler)
    study_id = begin(space, store)
    trained = carry_out(proposer_of(space, store, study_id))
    assert len({p.architecture.fingerprint for p in trained}) == len(trained) == NETWORKS == space.count()
    assert states(store, study_id) == {"finished": NETWORKS}


def test_the_same_seed_proposes_the_same_networks(store):
    runs = []
    for name in ("a", "b"):
        # Each study starts from an empty memory: replays would hide what was sampled.
        space = space_of("tpe", f"training.weight_decay={0.01 if name == 'a' else 0.02}")
        runs.append([p.architecture for p in carry_out(proposer_of(space, store, begin(space, store, name)), most=5)])
    assert runs[0] == runs[1]


def test_trials_end_the_sweep(store):
    space = space_of("random", "search.trials=3")
    assert len(carry_out(proposer_of(space, store, begin(space, store)))) == 3


def test_over_budget_is_recorded_and_never_trained(store):
    everything = space_of()
    study_id = begin(everything, store)
    costs = sorted(p.known["macs"] for p in carry_out(proposer_of(everything, store, study_id)))
    limit = (costs[3] + costs[4]) / 2
    space = space_of("random", f"budget.macs={limit}", "training.weight_decay=0.5")
    study_id = begin(space, store, "limited")
    trained = carry_out(proposer_of(space, store, study_id))
    assert all(p.known["macs"] <= limit for p in trained)
    rejected = store.trials(study_id, states=["rejected"])
    assert len(trained) + len(rejected) == NETWORKS
    assert {row["exceeded"] for row in rejected} == {"macs"}
    assert all(row["exceeded_value"] > row["exceeded_limit"] == limit for row in rejected)


def test_a_budget_that_nothing_fits_ends_at_once_and_says_what_to_raise(store):
    space = space_of("random", "budget.macs=10", "budget.params=1e9")
    with pytest.raises(RunError, match=r"budget\.macs is 10, the least that was proposed \d"):
        carry_out(proposer_of(space, store, begin(space, store)))


def test_another_study_replays_what_is_known(store):
    space = space_of("grid")
    first, second = begin(space, store, "first"), begin(space, store, "second")
    carry_out(proposer_of(space, store, first))
    assert carry_out(proposer_of(space, store, second)) == []
    assert states(store, second) == {"replayed": NETWORKS}
    values = [{row["identity"]: row["miou"] for row in store.trials(i)} for i in (first, second)]
    assert values[0] == values[1]


def test_fresh_trains_again_what_another_study_knows(store):
    space = space_of("grid")
    first, second = begin(space, store, "first"), begin(space, store, "second")
    carry_out(proposer_of(space, store, first))
    assert len(carry_out(proposer_of(space, store, second, fresh=True))) == NETWORKS
    assert states(store, second) == {"finished": NETWORKS}


WIDE = """
data: {shapes: {size: [32, 32]}}
architecture:
  backbone: {timm: {model: test_resnet}}
  context: {choice: {none: , ppm: {channels: {choice: [8, 16, 32, 64]}}}}
  align: {bilinear: {channels: {int: [8, 64], step: 8}}}
  head: {linear: {dropout: {float: [0.0, 0.5]}}}
training: {epochs: 1}
search: {sampler: random, trials: 6}
"""


class Stubborn(optuna.samplers.RandomSampler):
    """Proposes the first answer to every question, again and again."""

    def sample_independent(self, study, trial, name, distribution):
        return getattr(distribution, "choices", [getattr(distribution, "low", None)])[0]


def test_a_sampler_that_repeats_itself_is_left_behind_for_neighbours(store):
    space = Space.loads(WIDE)
    study_id = begin(space, store)
    proposer = proposer_of(space, store, study_id)
    proposer.memory.study.sampler = Stubborn()
    trained = carry_out(proposer)
    rows = store.trials(study_id)
    assert [row["origin"] for row in rows] == ["sampler"] + 5 * ["neighbour"]
    assert [row["repeats"] for row in rows] == [0] + 5 * [10]
    assert proposer.progress.repeats == 50
    answers = [store.trial(study_id, p.trial)["answers"] for p in trained]
    for changed in answers[1:]:
        differing = {path for path in changed.keys() & answers[0].keys() if changed[path] != answers[0][path]}
        assert len(differing) == 1
        opened = changed.keys() - answers[0].keys()
        assert not opened or differing == {"architecture.context"}


def test_where_neighbours_are_known_a_random_network_is_taken(store):
    space = space_of("random")
    study_id = begin(space, store)
    proposer = proposer_of(space, store, study_id)
    proposer.memory.study.sampler = Stubborn()
    carry_out(proposer)
    origins = [row["origin"] for row in store.trials(study_id)]
    # Three questions of two answers: three neighbours, and four networks that are none.
    assert Counter(origins) == {"sampler": 1, "neighbour": 3, "random": 4}
    assert proposer.progress.ending == f"the space is exhausted: all {NETWORKS} networks in it are known"


def test_what_the_results_show_to_be_hopeless_is_skipped_with_the_pair(store):
    text = TEXT.replace("{choice: [8, 16]}", "{choice: [8, 16, 24, 32], ordered: true}").replace("SAMPLER", "random")
    space = Space.loads(text, sets=["search.partial_order=true"])
    study_id = begin(space, store)
    proposer = proposer_of(space, store, study_id)
    while (proposal := proposer.propose()) is not None:
        proposer.started(proposal.trial, host="here", device="cpu")
        proposer.epoch(proposal.trial, report(1, 0.5))  # width is worth nothing here
        proposer.ended(proposal.trial, Finished())
    skipped = store.trials(study_id, states=["skipped"])
    assert skipped
    assert len(skipped) + states(store, study_id)["finished"] == 2 * NETWORKS
    final = {row["number"] for row in store.trials(study_id, states=["finished"])}
    for row in skipped:
        pair = {int(number) for number in re.findall(r"trial (\d+)", row["error"])}
        assert pair <= final
        assert row["epochs"] == 0
    again = proposer_of(space, store, study_id)
    assert again.propose() is None
    assert again.progress.counts["skipped"] == len(skipped)


@pytest.mark.parametrize(
    ("limit", "resources", "epochs"),
    [("search.epochs=5", "{}", 5), ("search.gpu_hours=0.002", "{gpu: 2}", 4)],
    ids=["epochs", "GPU hours"],
)
def test_a_limit_ends_the_sweep_and_counts_on_after_a_restart(limit, resources, epochs, store):
    sets = (limit, f"resources={resources}")
    space = space_of("random", *sets)
    study_id = begin(space, store)

    def live(proposer):
        done = 0
        while (proposal := proposer.propose()) is not None:
            proposer.started(proposal.trial, host="here", device="cpu")
            for number in range(proposal.done + 1, proposal.epochs + 1):
                proposer.epoch(proposal.trial, report(number, 0.5))
                done += 1
                if number < proposal.epochs and proposer.over():
                    break
            proposer.ended(proposal.trial, Finished() if number == proposal.epochs else Interrupted())
        return done

    first = proposer_of(space, store, study_id)
    assert live(first) == epochs
    name = limit.partition("=")[0]
    assert first.progress.ending.startswith(f"{name}: ")
    again = proposer_of(space, store, study_id)
    assert again.over()
    assert live(again) == 0
    more = space_of("random", f"{name}=1000", *sets[1:])
    live(proposer_of(more, store, study_id))
    assert states(store, study_id) == {"finished": NETWORKS}


def test_the_clock_of_a_run_starts_anew():
    now = 0.0
    search = space_of("random", "search.hours=2").search
    limits = Limits(search, gpu=0.0, clock=lambda: now)
    assert not limits.reached()
    now = 7200.0
    assert limits.reached() == "search.hours: 2 is used up; go on with --resume"
    assert not Limits(search, gpu=0.0, clock=lambda: now).reached()


def test_gpu_hours_without_a_gpu_are_a_mistake():
    with pytest.raises(SpaceError, match=r"search\.gpu_hours needs trials that have a GPU"):
        space_of("random", "search.gpu_hours=1")


def test_another_seed_or_recipe_is_not_known(store):
    space = space_of("grid")
    carry_out(proposer_of(space, store, begin(space, store, "first")))
    for change in ("search.seed=4", "training.learning_rate=0.5"):
        other = space_of("grid", change)
        assert len(carry_out(proposer_of(other, store, begin(other, store, change)))) == NETWORKS


def test_the_sampler_hears_of_every_kind_of_outcome(store, tmp_path):
    space = space_of("tpe", "search.trials=4")
    study_id = begin(space, store)
    mirror = Mirror(store.url, "s", space.objectives)
    proposer = proposer_of(space, store, study_id, mirror=mirror)
    carry_out(proposer, most=1)
    carry_out(proposer, most=1, outcome=Stopped(rung=1, missing=0.5))
    carry_out(proposer, most=1, outcome=Failed(reason="out of memory"))
    nan = proposer.propose()
    proposer.started(nan.trial, host="here", device="cpu")
    proposer.epoch(nan.trial, report(1, math.nan))
    proposer.ended(nan.trial, Finished())
    mirror.close()
    assert states(store, study_id) == {"finished": 1, "stopped": 1, "failed": 2}
    copied = optuna.load_study(study_name="s", storage=store.url).trials
    assert Counter(t.state.name for t in copied) == {"COMPLETE": 2, "FAIL": 2}
    unfinished = [t.constraints["unfinished"] for t in copied if t.constraints]
    assert unfinished == [0.0, 0.5]


def test_an_interrupted_trial_is_proposed_again_and_nothing_else_is(store):
    space = space_of("nsga2", "search.trials=4")
    study_id = begin(space, store)
    proposer = proposer_of(space, store, study_id)
    before = carry_out(proposer, most=2)
    cut = proposer.propose()
    proposer.started(cut.trial, host="here", device="cpu")
    proposer.epoch(cut.trial, report(1, 0.5))
    proposer.ended(cut.trial, Interrupted())
    after = carry_out(proposer_of(space, store, study_id))
    assert (after[0].trial, after[0].architecture, after[0].done) == (cut.trial, cut.architecture, 1)
    numbers = [p.trial for p in before + after]
    assert sorted(numbers) == sorted(set(numbers)) == [0, 1, 2, 3]
    assert states(store, study_id) == {"finished": 4}


def test_a_killed_driver_leaves_nothing_behind_twice(store):
    space = space_of("nsga2", "search.trials=4")
    study_id = begin(space, store)
    proposer = proposer_of(space, store, study_id)
    carry_out(proposer, most=1)
    for _ in range(2):  # in hand when the driver dies: one running, one only proposed
        cut = proposer.propose()
    proposer.started(cut.trial, host="here", device="cpu")
    assert store.mark_orphans(study_id) == 2
    carry_out(proposer_of(space, store, study_id))
    assert states(store, study_id) == {"finished": 4}


def test_a_network_that_cannot_be_built_is_recorded_with_the_reason(store):
    # A plain ViT has no output stride; the residual network has.
    model = "{timm: {model: {choice: [test_resnet, test_vit]}, output_stride: 8}}"
    space = space_of("grid", f"architecture.backbone={model}")
    study_id = begin(space, store)
    carry_out(proposer_of(space, store, study_id))
    assert states(store, study_id) == {"finished": 4, "failed": 4}
    for row in store.trials(study_id, states=["failed"]):
        assert row["model"] == "test_vit"
        assert row["error"].startswith("cannot be built: backbone timm")
