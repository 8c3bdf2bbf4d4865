"""The proposer of a list, driven by hand: a real store and real costs; only nothing is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blocks.errors import RunError
from nas.ablation import planned
from nas.propose import ListedProposer, OptunaProposer, Progress
from nas.propose.listed import listed
from nas.space import Space
from nas.study.ablation import adopted
from runners.data import dataset
from runners.protocol import Failed, Finished, Interrupted, Paused, Stopped

TEXT = """
data: {shapes: {size: [32, 32]}}
architecture:
  backbone: {timm: {model: test_resnet}}
  context: {choice: [none, ppm, psa]}
  align: {bilinear: {channels: 8}}
training: {epochs: 2}
ablation: {seeds: 3}
"""
ARMS = ["baseline", "context=ppm", "context=psa"]


@pytest.fixture
def begin(store):
    def begin(*sets, study="s", **more):
        space = Space.loads(TEXT, sets=sets)
        data = dataset(space.data, {})
        arms = {arm.name: arm.candidate for arm in planned(space).arms}
        first = space.search.seed
        items = listed(space, arms, range(first, first + space.ablation.seeds), data.info, data.fingerprint())
        row = store.study(study)
        study_id = (
            row["id"]
            if row
            else store.create_study(study, space=space.text, objectives=space.objectives, budget=space.budget, seed=0)
        )
        if row and row["space"] != space.text:
            adopted(space, items, study_id, store)
        store.mark_orphans(study_id)
        return ListedProposer(space, store, study_id, items, progress=Progress(0), **more), study_id

    return begin


def carry_out(proposer, epoch_of, most=1000, outcome=None, accumulation=1):
    trained = []
    while len(trained) < most and (proposal := proposer.propose()) is not None:
        proposer.started(proposal.trial, host="here", device="cpu")
        for number in range(proposal.done + 1, proposal.epochs + 1):
            proposer.epoch(proposal.trial, replace(epoch_of(number, 0.5), accumulation=accumulation))
        proposer.ended(proposal.trial, outcome or Finished())
        trained.append(proposal)
    return trained


def test_every_arm_is_trained_with_every_seed_seed_by_seed(begin, store, epoch_of):
    proposer, study_id = begin()
    trained = carry_out(proposer, epoch_of)
    rows = store.trials(study_id)
    assert [(row["arm"], row["seed"]) for row in rows] == [(arm, seed) for seed in range(3) for arm in ARMS]
    assert [proposal.seed for proposal in trained] == [row["seed"] for row in rows]
    assert {row["origin"] for row in rows} == {"arm"}
    assert len({row["identity"] for row in rows}) == 9
    assert (proposer.progress.done, proposer.progress.goal) == (9, 9)
    proposer.check()


def test_a_resumed_list_goes_on_where_it_was(begin, store, epoch_of):
    proposer, study_id = begin()
    carry_out(proposer, epoch_of, most=2)
    third = proposer.propose()
    proposer.started(third.trial, host="here", device="cpu")
    proposer.epoch(third.trial, epoch_of(1, 0.4))
    # Here the driver is killed.
    again, _ = begin()
    trained = carry_out(again, epoch_of)
    assert [(p.trial, p.done) for p in trained] == [(2, 1), *((number, 0) for number in range(3, 9))]
    assert [row["state"] for row in store.trials(study_id)] == ["finished"] * 9
    assert again.progress.done == 9
    assert carry_out(begin()[0], epoch_of) == []


def test_what_was_interrupted_before_it_began_passes_the_gates_again(begin, store, epoch_of):
    proposer, study_id = begin()
    proposer.ended(proposer.propose().trial, Interrupted())
    again, _ = begin("budget.macs=10")
    assert carry_out(again, epoch_of) == []
    assert {row["state"] for row in store.trials(study_id)} <= {"rejected", "skipped"}


def test_seeds_and_arms_may_be_added_and_taken_away(begin, store, epoch_of):
    _, study_id = begin()
    carry_out(begin("ablation.seeds=1")[0], epoch_of)
    assert [p.seed for p in carry_out(begin("ablation.seeds=2")[0], epoch_of)] == [1, 1, 1]
    fewer = carry_out(begin("ablation.seeds=3", "architecture.context={choice: [none, psa]}")[0], epoch_of)
    assert [p.seed for p in fewer] == [2, 2]
    rows = store.trials(study_id)
    assert {row["arm"] for row in rows if row["outside"]} == {"context=ppm"}
    assert [p.seed for p in carry_out(begin("ablation.seeds=3")[0], epoch_of)] == [2]
    assert not any(row["outside"] for row in store.trials(study_id))


def test_an_arm_that_is_over_budget_is_rejected_and_the_others_are_trained(begin, store, epoch_of):
    proposer, study_id = begin()
    costs = {row["arm"]: row["macs"] for row in (carry_out(proposer, epoch_of), store.trials(study_id))[1]}
    limit = sorted(costs.values())[1]
    other, other_id = begin(f"budget.macs={limit}", study="limited", fresh=True)
    assert len(carry_out(other, epoch_of)) == 6
    over = [row for row in store.trials(other_id) if row["state"] == "rejected"]
    assert [(row["seed"], row["exceeded"]) for row in over] == [(seed, "macs") for seed in range(3)]
    assert {costs[row["arm"]] for row in over} == {max(costs.values())}
    assert (other.progress.done, other.progress.goal) == (6, 6)
    # With the limit raised, they are trained after all.
    assert len(carry_out(begin(study="limited", fresh=True)[0], epoch_of)) == 3


def test_where_nothing_fits_the_end_says_so(begin, epoch_of):
    proposer, _ = begin("budget.macs=10")
    assert carry_out(proposer, epoch_of) == []
    with pytest.raises(RunError, match=r"budget\.macs is 10, the least that was proposed"):
        proposer.check()


def test_what_a_search_has_trained_counts(begin, store, epoch_of):
    space = Space.loads(TEXT, sets=["search.sampler=grid"])
    data = dataset(space.data, {})
    searched = store.create_study("search", space=space.text, objectives=space.objectives, budget={}, seed=0)
    search = OptunaProposer(
        space, store, searched, data=data.info, data_fingerprint=data.fingerprint(), progress=Progress(50)
    )
    assert len(carry_out(search, epoch_of)) == 3
    proposer, study_id = begin()
    assert [proposal.seed for proposal in carry_out(proposer, epoch_of)] == [1, 1, 1, 2, 2, 2]
    assert [row["state"] for row in store.trials(study_id)][:3] == ["replayed"] * 3
    fresh, _ = begin(study="fresh", fresh=True)
    assert len(carry_out(fresh, epoch_of)) == 9


def test_a_result_whose_batch_was_taken_in_parts_is_another_treatment(begin, store, epoch_of):
    carry_out(begin(study="cramped")[0], epoch_of, accumulation=2)
    proposer, study_id = begin()
    assert len(carry_out(proposer, epoch_of)) == 9
    assert {row["state"] for row in store.trials(study_id)} == {"finished"}
    third, third_id = begin(study="third")
    assert carry_out(third, epoch_of) == []
    assert {row["accumulation"] for row in store.trials(third_id)} == {1}


def test_failures_are_recorded_and_not_tried_again(begin, store, epoch_of):
    proposer, study_id = begin()
    carry_out(proposer, epoch_of, most=1, outcome=Failed("diverged"))
    assert len(carry_out(proposer, epoch_of)) == 8
    assert store.trials(study_id)[0]["state"] == "failed"
    assert carry_out(begin()[0], epoch_of) == []


def test_a_finished_trial_without_a_number_has_failed(begin, store, epoch_of):
    proposer, study_id = begin()
    proposal = proposer.propose()
    proposer.started(proposal.trial, host="here", device="cpu")
    proposer.epoch(proposal.trial, epoch_of(1, float("nan")))
    proposer.ended(proposal.trial, Finished())
    assert store.trials(study_id)[0]["error"] == "no usable value of miou"


def test_a_paused_trial_goes_on_or_ends_as_stopped(begin, store, epoch_of):
    proposer, study_id = begin()
    first, second = proposer.propose(), proposer.propose()
    for proposal in (first, second):
        proposer.started(proposal.trial, host="here", device="cpu")
        proposer.epoch(proposal.trial, epoch_of(1, 0.4))
        proposer.ended(proposal.trial, Paused(1, 0.5))
    assert proposer.progress.done == 2
    again = proposer.again(first.trial)
    assert (again.trial, again.done) == (0, 1)
    proposer.started(0, host="here", device="cpu")
    proposer.epoch(0, epoch_of(2, 0.5))
    proposer.ended(0, Finished())
    proposer.ended(second.trial, Stopped(1, 0.5))
    assert [row["state"] for row in store.trials(study_id)] == ["finished", "stopped"]
    assert proposer.progress.done == 2


def test_a_limit_of_epochs_ends_it_ready_to_be_resumed(begin, epoch_of):
    proposer, _ = begin("search.epochs=4")
    assert len(carry_out(proposer, epoch_of)) == 2
    assert proposer.over()
    assert "search.epochs: 4 is used up" in proposer.progress.ending
