"""Between Ray's searcher and a proposer: who is asked when, and when it is over."""

from __future__ import annotations

import pickle

import pytest
from ray.tune.search import Searcher

from runners.protocol import Failed, Finished, Interrupted, Rejected
from runners.ray_tune.bridge import Bridge


class Counting:
    """Proposes until two trials have finished; a rejected one does not count."""

    def __init__(self, proposal):
        self.proposal, self.proposed, self.asked, self.ended_as = proposal, 0, 0, []
        self.spent = False

    def propose(self):
        self.asked += 1
        running = self.proposed - len(self.ended_as)
        if running + sum(not isinstance(outcome, Rejected) for outcome in self.ended_as) >= 2:
            return None
        self.proposed += 1
        return self.proposal(self.proposed - 1)

    def over(self):
        return self.spent

    def started(self, trial, *, host, device): ...

    def epoch(self, trial, epoch): ...

    def ended(self, trial, outcome):
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


def test_a_proposer_that_had_nothing_is_asked_again_when_a_trial_has_reached_a_rung(proposal, work):
    proposer = Counting(proposal)
    bridge = Bridge(proposer, Rungs(), {}, work, concurrent=3)
    for name in "ab":
        bridge.suggest(name)
    assert bridge.suggest("c") is None
    bridge.result("a", {"epoch": "the first"})
    asked = proposer.asked
    assert bridge.suggest("c") is None
    assert bridge.suggest("c") is None
    assert proposer.asked == asked + 1


def test_each_proposal_ends_exactly_once(bridge):
    bridge, proposer = bridge
    bridge.suggest("a")
    bridge.suggest("b")
    for _ in range(2):  # as a last result, and as a completed trial
        bridge.result("a", {"outcome": Failed(reason="out of memory")})
    assert bridge.interrupt() == 1
    assert bridge.interrupt() == 0
    assert [type(outcome) for outcome in proposer.ended_as] == [Failed, Interrupted]


def test_it_never_travels(bridge):
    assert pickle.loads(pickle.dumps(bridge[0])) is None
