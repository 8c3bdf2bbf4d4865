"""Replaying recorded curves: the clock, the ends, and that proposer and stopper hear what a real runner would say."""

from __future__ import annotations

import dataclasses

import pytest

from blocks.architecture import Architecture, Component
from runners.halving import ParetoHalving
from runners.protocol import Epoch, Failed, Finished, Halving, Interrupted, Proposal, Protocol, Rejected, Stopped
from runners.simulated import SimulatedRunner

OBJECTIVES = {"miou": "max", "macs": "min"}


def epoch_of(number, miou, seconds=1.0, **more):
    figures = {"loss": 1.0, "pixel_accuracy": 0.5, "learning_rate": 0.1, "train_memory_bytes": 1}
    return Epoch(epoch=number, miou=miou, class_iou=(), seconds=seconds, **figures, **more)


def proposal_of(trial, epochs=2, **more):
    protocol = Protocol(
        data=Component.of("shapes"),
        data_fingerprint="x",
        size=(32, 32),
        classes=3,
        image_channels=3,
        training=(("epochs", epochs),),
        main=(),
        coarse=(),
    )
    architecture = Architecture(backbone=Component.of("b", {"n": trial}))
    return Proposal(trial=trial, architecture=architecture, protocol=protocol, seed=0, **more)


class Recorder:
    """Hands out a list, as long as it likes to, and notes everything in order."""

    def __init__(self, *proposals):
        self.left, self.said = list(proposals), []

    def propose(self):
        return self.left.pop(0) if self.left else None

    def over(self):
        return False

    def started(self, trial, *, host, device):
        self.said.append(("started", trial))

    def epoch(self, trial, epoch):
        self.said.append(("epoch", trial, epoch.epoch))

    def ended(self, trial, outcome):
        self.said.append(("ended", trial, type(outcome)))

    @property
    def ends(self):
        return {event[1]: event[2] for event in self.said if event[0] == "ended"}


def run(proposer, curves, stopper=None, workers=1):
    moments = []
    runner = SimulatedRunner(lambda p: curves.get(p.trial), stopper, workers=workers, watch=moments.append)
    return runner.run(proposer), moments


def test_one_worker_replays_one_trial_after_another():
    proposer = Recorder(proposal_of(0), proposal_of(1))
    ended, moments = run(proposer, {0: [epoch_of(1, 0.1), epoch_of(2, 0.2)], 1: [epoch_of(1, 0.1), epoch_of(2, 0.3)]})
    assert ended
    one = [("epoch", 0, 1), ("epoch", 0, 2), ("ended", 0, Finished)]
    two = [("epoch", 1, 1), ("epoch", 1, 2), ("ended", 1, Finished)]
    assert proposer.said == [("started", 0), *one, ("started", 1), *two]
    assert [(m.seconds, m.epochs) for m in moments if m.outcome] == [(2.0, 2), (4.0, 4)]


def test_the_clock_orders_the_epochs_of_several_workers():
    slow, fast = [epoch_of(1, 0.1, 5.0), epoch_of(2, 0.2, 5.0)], [epoch_of(1, 0.1, 2.0), epoch_of(2, 0.2, 2.0)]
    proposer = Recorder(proposal_of(0), proposal_of(1), proposal_of(2))
    _, moments = run(proposer, {0: slow, 1: fast, 2: fast}, workers=2)
    assert [(m.trial, m.seconds) for m in moments if m.outcome is None] == [
        *((1, 2.0), (1, 4.0), (0, 5.0), (2, 6.0), (2, 8.0), (0, 10.0))
    ]
    assert moments[-1].epochs == 6


def test_a_network_without_a_record_fails_at_once_and_costs_no_time():
    proposer = Recorder(proposal_of(0), proposal_of(1))
    ended, moments = run(proposer, {1: [epoch_of(1, 0.1), epoch_of(2, 0.2)]})
    assert ended
    assert proposer.ends == {0: Failed, 1: Finished}
    assert (moments[0].seconds, moments[0].epochs) == (0.0, 0)
    assert moments[0].outcome.reason == "no learning curve is recorded for this network"


def test_a_record_that_ends_early_serves_as_far_as_it_goes():
    short = {0: [epoch_of(1, 0.1)], 1: [epoch_of(1, 0.9), epoch_of(2, 0.9), epoch_of(3, 0.9)]}
    proposer = Recorder(proposal_of(0, epochs=3), proposal_of(1, epochs=3))
    run(proposer, short)
    assert proposer.ends == {0: Failed, 1: Finished}
    proposer = Recorder(proposal_of(1, epochs=3, known={"macs": 1}), proposal_of(0, epochs=3, known={"macs": 2}))
    run(proposer, short, ParetoHalving(Halving(eta=2, minimum=2, promote=False), OBJECTIVES))
    assert proposer.ends == {1: Finished, 0: Stopped}


def test_the_stopper_hears_each_epoch_in_the_order_of_the_clock():
    heard = []

    class Listening:
        def goes_on(self, proposal, epoch):
            heard.append((proposal.trial, epoch.epoch))
            return epoch.epoch < 2

        def stopped(self, proposal, epoch):
            return Stopped(rung=epoch.epoch, missing=0.5)

    curve = [epoch_of(n, 0.1) for n in (1, 2, 3)]
    proposer = Recorder(proposal_of(0, epochs=3), proposal_of(1, epochs=3))
    _, moments = run(proposer, {0: curve, 1: curve}, Listening(), workers=2)
    assert heard == [(0, 1), (1, 1), (0, 2), (1, 2)]
    assert moments[-1].outcome == Stopped(rung=2, missing=0.5)
    assert moments[-1].epochs == 4


def test_a_proposer_that_has_nothing_now_is_asked_again_when_a_trial_has_ended():
    class Waiting(Recorder):
        def propose(self):
            # The second follows only when the first is known.
            return None if len(self.left) == 1 and not self.ends else super().propose()

    curve = [epoch_of(1, 0.1), epoch_of(2, 0.2)]
    proposer = Waiting(proposal_of(0), proposal_of(1))
    run(proposer, {0: curve, 1: curve}, workers=4)
    assert proposer.ends == {0: Finished, 1: Finished}


def test_recorded_measurements_are_held_against_the_limits():
    measured = [epoch_of(1, 0.1, latency_ms=12.0), epoch_of(2, 0.1)]
    proposer = Recorder(proposal_of(0, limits={"latency_ms": 10.0}), proposal_of(1, limits={"latency_ms": 15.0}))
    _, moments = run(proposer, {0: measured, 1: measured})
    assert moments[0].outcome == Rejected("latency_ms", 12.0, 10.0)
    assert proposer.ends == {0: Rejected, 1: Finished}


def test_a_resumed_trial_goes_on_where_it_was():
    proposer = Recorder(dataclasses.replace(proposal_of(0), done=1))
    _, moments = run(proposer, {0: [epoch_of(1, 0.1), epoch_of(2, 0.2)]})
    assert proposer.said == [("started", 0), ("epoch", 0, 2), ("ended", 0, Finished)]
    assert moments[-1].epochs == 1


def test_when_the_epochs_are_spent_the_search_is_over():
    curve = [epoch_of(1, 0.1), epoch_of(2, 0.2)]
    proposer = Recorder(*(proposal_of(trial) for trial in range(5)))
    moments = []
    runner = SimulatedRunner(lambda p: curve, workers=2, epochs=5, watch=moments.append)
    assert runner.run(proposer)
    assert proposer.ends == {0: Finished, 1: Finished, 2: Interrupted, 3: Interrupted}
    assert moments[-1].epochs == 5
    assert len(proposer.left) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_ends_what_is_open(workers):
    class Impatient(Recorder):
        def epoch(self, trial, epoch):
            raise KeyboardInterrupt

    curve = [epoch_of(1, 0.1), epoch_of(2, 0.2)]
    proposer = Impatient(proposal_of(0), proposal_of(1), proposal_of(2))
    ended, _ = run(proposer, dict.fromkeys(range(3), curve), workers=workers)
    assert not ended
    assert proposer.ends == dict.fromkeys(range(workers), Interrupted)
