"""Between Ray's searcher and a proposer: who is asked when, and when it is over."""

from __future__ import annotations

import pickle

import pytest
from ray.exceptions import ActorDiedError
from ray.tune.search import Searcher

from blocks.errors import StoreError
from runners.protocol import Epoch, Failed, Finished, Interrupted, Rejected
from runners.ray_tune.bridge import Bridge
from runners.ray_tune.hooks import is_machines


class Counting:
    """Proposes until two trials have finished; a rejected one does not count."""

    def __init__(self, proposal):
        self.proposal, self.proposed, self.asked, self.ended_as = proposal, 0, 0, []
        self.retries, self.full = [], False
        self.spent, self.begun = False, []

    def propose(self):
        self.asked += 1
        running = self.proposed - len(self.ended_as)
        if running + sum(not isinstance(outcome, Rejected) for outcome in self.ended_as) >= 2:
            return None
        self.proposed += 1
        return self.proposal(self.proposed - 1)

    def over(self):
        return self.spent

    def started(self, trial, *, host, device):
        self.begun.append(trial)

    def epoch(self, trial, epoch): ...

    def retried(self, trial, reason):
        self.retries.append((trial, reason))

    def ended(self, trial, outcome):
        if self.full:
            raise StoreError("the disk is full")
        self.ended_as.append(outcome)


@pytest.fixture
def bridge(proposal, work):
    proposer = Counting(proposal)
    return Bridge(proposer, None, {}, work, concurrent=2), proposer


def test_no_more_than_the_places_are_open(bridge):
    bridge, proposer = bridge
    assert bridge.suggest("a")
    assert bridge.suggest("b")
    assert bridge.suggest("c") is None
    assert proposer.asked == 2


def test_a_trial_that_turns_out_not_to_count_is_replaced(bridge):
    bridge, proposer = bridge
    bridge.suggest("a")
    bridge.suggest("b")
    bridge.result("a", {"outcome": Finished()})
    for _ in range(5):
        assert bridge.suggest("c") is None
    assert proposer.asked == 3  # not at every turn of Tune's loop
    bridge.result("b", {"outcome": Rejected("latency_ms", 2.0, 1.0)})
    assert bridge.suggest("c")
    bridge.result("c", {"outcome": Finished()})
    assert not bridge.complete
    assert bridge.suggest("d") == Searcher.FINISHED
    assert bridge.complete


class Rungs:
    """Early stopping for which every epoch is a rung and nobody is stopped."""

    def goes_on(self, proposal, epoch):
        return True


def test_a_proposer_that_had_nothing_is_asked_again_when_a_trial_has_reached_a_rung(proposal, work, epoch):
    proposer = Counting(proposal)
    bridge = Bridge(proposer, Rungs(), {}, work, concurrent=3)
    for name in "ab":
        bridge.suggest(name)
    assert bridge.suggest("c") is None
    bridge.result("a", {"epoch": epoch})
    asked = proposer.asked
    assert bridge.suggest("c") is None
    assert bridge.suggest("c") is None
    assert proposer.asked == asked + 1


def test_early_stopping_hears_the_last_epoch_too_though_it_comes_with_the_outcome(proposal, work, epoch):
    heard = []

    class Listening(Rungs):
        def goes_on(self, proposal, epoch):
            heard.append((proposal.trial, epoch.epoch))
            return False

        def stopped(self, proposal, epoch):
            raise AssertionError("it has ended already")

    proposer = Counting(proposal)
    bridge = Bridge(proposer, Listening(), {}, work, concurrent=1)
    bridge.suggest("a")
    bridge.result("a", {"epoch": epoch, "outcome": Finished()})
    bridge.check()
    assert heard == [(0, 1)]
    assert proposer.ended_as == [Finished()]


def test_a_worker_whose_network_has_ended_goes_on_with_the_next(bridge, epoch):
    bridge, proposer = bridge
    bridge.suggest("a")
    assert bridge.following("a") is None  # it has one
    bridge.result("a", {"epoch": epoch, "outcome": Rejected("latency_ms", 2.0, 1.0)})
    assert bridge.following("a")["proposal"].trial == 1
    assert proposer.begun == [1]  # of the first, Tune tells
    bridge.lost("a", "The actor died unexpectedly", machines=True)
    assert [trial for trial, _ in proposer.retries] == [1]


def test_nothing_follows_where_there_is_nothing_and_once_the_sweep_is_being_ended(bridge):
    bridge, proposer = bridge
    for name in "ab":
        bridge.suggest(name)
    bridge.result("a", {"outcome": Finished()})
    assert bridge.following("a") is None
    bridge.result("b", {"outcome": Rejected("latency_ms", 2.0, 1.0)})
    bridge.interrupt()
    assert bridge.following("b") is None
    assert proposer.proposed == 2


def test_what_goes_wrong_while_the_next_is_looked_for_ends_the_sweep(bridge):
    bridge, proposer = bridge
    bridge.suggest("a")
    bridge.result("a", {"outcome": Finished()})

    def full():
        raise StoreError("the disk is full")

    proposer.propose = full
    assert bridge.following("a") is None
    with pytest.raises(StoreError, match="full"):
        bridge.check()


def test_each_proposal_ends_exactly_once(bridge):
    bridge, proposer = bridge
    bridge.suggest("a")
    bridge.suggest("b")
    for _ in range(2):  # as a last result, and as a completed trial
        bridge.result("a", {"outcome": Failed(reason="out of memory")})
    for _ in range(2):
        bridge.interrupt()
    assert bridge.interrupted
    assert [type(outcome) for outcome in proposer.ended_as] == [Failed, Interrupted]


def test_it_never_travels(bridge):
    assert pickle.loads(pickle.dumps(bridge[0])) is None


@pytest.fixture
def epoch():
    facts = {"loss": 1.0, "miou": 0.1, "pixel_accuracy": 0.5, "learning_rate": 0.1, "seconds": 1.0}
    return Epoch(epoch=1, class_iou=(), train_memory_bytes=1, **facts)


def test_a_lost_worker_is_replaced_once(bridge, epoch):
    bridge, proposer = bridge
    bridge.suggest("a")
    bridge.suggest("b")
    bridge.result("a", {"epoch": epoch})
    bridge.lost("a", "The actor died unexpectedly", machines=True)
    assert [trial for trial, _ in proposer.retries] == [0]
    again = bridge.suggest("c")["proposal"]
    assert (again.trial, again.done) == (0, 1)
    assert proposer.asked == 2
    bridge.lost("c", "The actor died unexpectedly", machines=True)
    assert [type(outcome) for outcome in proposer.ended_as] == [Failed]


def test_what_is_not_the_machines_fault_is_not_tried_again(bridge):
    bridge, proposer = bridge
    bridge.suggest("a")
    bridge.lost("a", "RuntimeError: CUDA error: device-side assert triggered", machines=False)
    assert proposer.retries == []
    assert proposer.ended_as[0].reason == "RuntimeError: CUDA error: device-side assert triggered"


def test_a_lost_trial_that_nobody_took_up_is_interrupted(bridge):
    bridge, proposer = bridge
    bridge.suggest("a")
    bridge.lost("a", "The actor died unexpectedly", machines=True)
    bridge.interrupt()
    assert proposer.ended_as == [Interrupted()]


@pytest.mark.parametrize(
    ("error", "text", "machines"),
    [
        (ActorDiedError(), "The actor died unexpectedly before finishing this task.", True),
        (None, "Task was killed due to the node running low on memory.", True),
        (None, "RuntimeError: CUDA error: uncorrectable ECC error encountered", True),
        (None, "RuntimeError: CUDA error: device-side assert triggered", False),
        (None, "TypeError: step() takes 1 positional argument", False),
        (None, "", False),
    ],
)
def test_whose_fault_it_was(error, text, machines):
    assert is_machines(error, text) is machines


def test_a_store_that_cannot_be_written_ends_the_sweep(bridge):
    """Tune swallows what is raised while it hears a result."""
    bridge, proposer = bridge
    bridge.suggest("a")
    bridge.suggest("b")
    proposer.full = True
    bridge.result("a", {"outcome": Finished()})
    with pytest.raises(StoreError, match="full"):
        bridge.check()
    with pytest.raises(StoreError, match="full"):
        bridge.suggest("c")
