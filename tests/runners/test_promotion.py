"""Paused trials that go on: in this process and through Ray, with a recipe that is cheap and with the real one."""

from __future__ import annotations

import dataclasses

import pytest

from blocks.architecture import Component
from runners.halving import ParetoHalving
from runners.local import LocalRunner
from runners.promotion import Promotion
from runners.protocol import Epoch, Finished, Halving, Interrupted, Paused, Stopped

DATA = Component.of("shapes", {"size": (32, 32), "train": 20, "val": 6})
MIOU = {0: 0.5, 1: 0.4, 2: 0.3, 3: 0.2, 4: 0.1, 5: 0.05}
HALVING = Halving(grace=1, eta=2, minimum=1)


class Listed:
    """Hands a list out and remembers all that it hears; a trial that is handed out again has its epochs."""

    def __init__(self, proposals):
        self._proposals = {proposal.trial: proposal for proposal in proposals}
        self._left = list(proposals)
        self.heard = {trial: [] for trial in self._proposals}
        self.outcomes = {trial: [] for trial in self._proposals}
        self.events, self.at_its_limit = [], False

    def propose(self):
        return self._left.pop(0) if self._left else None

    def over(self):
        return self.at_its_limit

    def left_over(self):
        return None

    def again(self, trial):
        assert isinstance(self.outcomes[trial][-1], Paused)
        return dataclasses.replace(self._proposals[trial], done=len(self.heard[trial]))

    def started(self, trial, *, host, device): ...

    def epoch(self, trial, epoch):
        self.heard[trial].append(epoch)
        self.events.append((trial, epoch.epoch))

    def ended(self, trial, outcome):
        assert not self.outcomes[trial] or isinstance(self.outcomes[trial][-1], Paused)
        self.outcomes[trial].append(outcome)


def known(proposal, work, data, device):
    """A recipe whose mIoU is that of the trial from the first epoch on."""
    for number in range(proposal.done + 1, proposal.epochs + 1):
        yield Epoch(
            epoch=number,
            loss=1.0,
            miou=MIOU[proposal.trial],
            pixel_accuracy=0.5,
            class_iou=(),
            learning_rate=0.1,
            seconds=0.0,
            train_memory_bytes=1,
        )
    return Finished()


def stopper_of(options=HALVING, objectives=None, trials=None):
    return ParetoHalving(options, objectives or {"miou": "max"}, trials=trials)


def test_one_place_serves_who_is_promoted_before_who_is_new(proposal, work):
    proposer, stopper = Listed([proposal(trial, epochs=4) for trial in range(4)]), stopper_of()
    assert LocalRunner(work, DATA, stopper, recipe=known).run(Promotion(proposer, stopper)) is True
    assert proposer.events == [
        *((0, epoch) for epoch in (1, 2, 3, 4)),
        (1, 1),  # one of two
        (2, 1),  # two of three: trial 1 goes on, and is the second of two at the next rung
        (1, 2),
        (3, 1),
    ]
    assert proposer.outcomes == {
        0: [Finished()],
        1: [Paused(rung=1, missing=2 / 3), Paused(rung=2, missing=1 / 3), Stopped(rung=2, missing=1 / 3)],
        2: [Paused(rung=1, missing=2 / 3), Stopped(rung=1, missing=2 / 3)],
        3: [Paused(rung=1, missing=2 / 3), Stopped(rung=1, missing=2 / 3)],
    }


def test_who_can_never_be_promoted_is_let_go_at_once(proposal, work):
    proposer, stopper = Listed([proposal(trial, epochs=2) for trial in range(6)]), stopper_of(trials=6)
    assert LocalRunner(work, DATA, stopper, recipe=known).run(Promotion(proposer, stopper)) is True
    # A full rung has three places: the trial that finds three ahead of it does not wait for the others.
    assert proposer.outcomes[5] == [Paused(rung=1, missing=0.5), Stopped(rung=1, missing=0.5)]
    assert [type(proposer.outcomes[trial][-1]) for trial in range(6)] == [Finished] * 3 + [Stopped] * 3


def test_without_promotion_the_first_word_is_the_last(proposal, work):
    options = dataclasses.replace(HALVING, promote=False)
    proposer, stopper = Listed([proposal(trial, epochs=4) for trial in range(4)]), stopper_of(options)
    assert LocalRunner(work, DATA, stopper, recipe=known).run(Promotion(proposer, stopper)) is True
    assert [outcomes for outcomes in proposer.outcomes.values() if len(outcomes) > 1] == []
    assert proposer.outcomes[1] == [Stopped(rung=1, missing=2 / 3)]


def test_what_waits_when_a_person_interrupts_goes_on_waiting(proposal, work):
    def interrupted(proposal, work, data, device):
        if proposal.trial == 3:
            raise KeyboardInterrupt
        return (yield from known(proposal, work, data, device))

    proposer, stopper = Listed([proposal(trial, epochs=4) for trial in range(4)]), stopper_of()
    assert LocalRunner(work, DATA, stopper, recipe=interrupted).run(Promotion(proposer, stopper)) is False
    assert [type(outcomes[-1]) for outcomes in proposer.outcomes.values()] == [Finished, Paused, Paused, Interrupted]


def test_at_a_limit_who_waits_goes_on_waiting(proposal, work):
    proposer, stopper = Listed([proposal(trial, epochs=2) for trial in range(4)]), stopper_of()

    def spent(proposal, work, data, device):
        proposer.at_its_limit = proposal.trial == 1
        return (yield from known(proposal, work, data, device))

    LocalRunner(work, DATA, stopper, recipe=spent).run(Promotion(proposer, stopper))
    assert proposer.outcomes == {0: [Finished()], 1: [Paused(rung=1, missing=0.5)], 2: [], 3: []}


@pytest.mark.ray
@pytest.mark.slow
def test_through_ray_everyone_who_deserves_it_goes_on_and_no_epoch_is_trained_twice(proposal, work):
    from runners.ray_tune import RayRunner

    proposer = Listed([proposal(trial, epochs=4) for trial in (3, 5, 1, 0, 4, 2)])
    stopper = stopper_of()
    work = dataclasses.replace(work, concurrent=2, halving=HALVING)
    assert RayRunner(work, DATA, stopper, recipe=known).run(Promotion(proposer, stopper)) is True
    for heard in proposer.heard.values():
        assert [epoch.epoch for epoch in heard] == list(range(1, len(heard) + 1))
    assert all(isinstance(outcomes[-1], Finished | Stopped) for outcomes in proposer.outcomes.values())
    # Whatever the order of arrival was, the best half of each full rung has gone on.
    assert {trial for trial, heard in proposer.heard.items() if len(heard) > 1} >= {0, 1, 2}
    assert isinstance(proposer.outcomes[0][-1], Finished)
    assert isinstance(proposer.outcomes[5][-1], Stopped)


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["last", "none"])
def test_a_promoted_trial_ends_with_the_numbers_of_one_that_never_stopped(proposal, work, numbers, keep):
    stopper = stopper_of(objectives={"macs": "min"})
    work = dataclasses.replace(work, keep=keep, halving=HALVING)
    proposals = [
        dataclasses.replace(proposal(trial, seed=trial, epochs=2), known={"macs": float(trial)}) for trial in range(3)
    ]
    proposer = Listed(proposals)
    assert LocalRunner(work, DATA, stopper).run(Promotion(proposer, stopper)) is True
    assert [type(outcome) for outcome in proposer.outcomes[1]] == [Paused, Finished]
    whole = Listed([dataclasses.replace(proposals[1], trial=9)])
    LocalRunner(work, DATA).run(whole)
    assert numbers(proposer.heard[1]) == numbers(whole.heard[9])
