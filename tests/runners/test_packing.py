"""Shares of a GPU: what a trial is granted, and what measurements teach."""

from __future__ import annotations

import pytest

from blocks.architecture import Architecture, Component
from runners.packing import MARGIN, SHARES, Packing, predicted_bytes
from runners.protocol import Epoch, Finished, Proposal, Protocol, Work
from runners.ray_tune.bridge import Bridge
from runners.ray_tune.gpus import gpu_bytes
from runners.ray_tune.runner import places

GPU = 80e9


def proposal_of(trial=0, activations=1e6, *, params=1e6, batch=16, precision="float32"):
    protocol = Protocol(
        data=Component("shapes"),
        data_fingerprint="x",
        size=(64, 64),
        classes=2,
        image_channels=3,
        training=(("batch", batch), ("epochs", 2), ("precision", precision)),
        main=(),
        coarse=(),
    )
    known = {} if activations is None else {"params": params, "activation_bytes": activations}
    return Proposal(
        trial=trial, architecture=Architecture(backbone=Component("b")), protocol=protocol, seed=0, known=known
    )


def epoch_of(taken, accumulation=1, number=1):
    figures = {"loss": 1.0, "miou": 0.1, "pixel_accuracy": 0.5, "learning_rate": 0.1, "seconds": 1.0}
    return Epoch(epoch=number, class_iou=(), train_memory_bytes=int(taken), accumulation=accumulation, **figures)


def test_a_training_is_expected_to_hold_its_state_and_a_batch_of_activations():
    assert predicted_bytes(proposal_of(activations=1e6, params=1e6, batch=16)) == 16e6 + 16e6
    assert predicted_bytes(proposal_of(activations=1e6, params=1e6, batch=16, precision="bfloat16")) == 16e6 + 8e6


def test_more_memory_never_gets_a_lesser_share_and_every_share_is_one_of_the_list():
    packing = Packing(GPU, 1)
    shares = [packing.share(proposal_of(activations=a)) for a in (1e6, 4e8, 5e8, 8e8, 1e9, 2e9, 3e9, 1e11)]
    assert shares == sorted(shares)
    assert set(shares) == set(SHARES)


def test_a_share_holds_what_is_expected_with_its_margin():
    packing = Packing(GPU, 1)
    for activations in (1e8, 5e8, 1e9, 2e9):
        asked = proposal_of(activations=activations)
        share = packing.share(asked)
        assert share * GPU >= predicted_bytes(asked) * packing.correction * MARGIN


def test_of_what_nothing_is_known_a_whole_gpu():
    assert Packing(GPU, 1).share(proposal_of(activations=None)) == 1.0


def test_measurements_correct_what_is_expected_both_ways():
    packing, asked = Packing(GPU, 1), proposal_of(activations=6e8)
    expected = predicted_bytes(asked)
    before = packing.share(asked)
    packing.measured(asked, epoch_of(0.3 * expected))
    assert packing.correction == pytest.approx(0.3, rel=1e-6)
    assert packing.share(asked) < before
    for _ in range(20):
        packing.measured(asked, epoch_of(4 * expected))
    assert packing.correction == pytest.approx(4.0, rel=1e-6)
    assert packing.share(asked) > before


def test_what_says_nothing_of_a_whole_batch_teaches_nothing():
    packing, asked = Packing(GPU, 1), proposal_of()
    before = packing.correction
    packing.measured(asked, epoch_of(1e9, accumulation=2))
    packing.measured(asked, epoch_of(0))
    packing.measured(proposal_of(activations=None), epoch_of(1e9))
    assert packing.correction == before


def test_it_is_full_when_not_even_the_least_share_is_left():
    packing = Packing(GPU, 1)
    small = [proposal_of(n) for n in range(8)]
    for n, asked in enumerate(small):
        assert not packing.full
        assert packing.grant(asked) == 1 / 8, n
    assert packing.full
    packing.release(small[0])
    assert not packing.full
    packing.release(small[0])  # twice is once
    packing.grant(proposal_of(9, activations=1e11))
    assert packing.full


def test_several_gpus_hold_several_times_as_many():
    packing = Packing(GPU, 2)
    for n in range(16):
        assert not packing.full
        packing.grant(proposal_of(n))
    assert packing.full


class Endless:
    """Proposes small trials for ever."""

    def __init__(self):
        self.proposed, self.ended_as, self.epochs = 0, [], []

    def propose(self):
        self.proposed += 1
        return proposal_of(self.proposed - 1)

    def over(self):
        return False

    def started(self, trial, *, host, device): ...

    def epoch(self, trial, epoch):
        self.epochs.append(epoch)

    def retried(self, trial, reason): ...

    def ended(self, trial, outcome):
        self.ended_as.append(outcome)


@pytest.fixture
def packed(tmp_path):
    work = Work(place={}, folder=tmp_path, cpu=0.1, gpu=1.0, pack=True, gpu_bytes=GPU)
    packing = Packing(GPU, 1)
    return Bridge(Endless(), None, {"work": work}, work, 100, packing=packing), packing


def test_a_worker_is_told_of_its_share_and_gives_it_back(packed):
    bridge, packing = packed
    given = [bridge.suggest(f"r{n}") for n in range(9)]
    assert [g["work"].gpu for g in given[:8]] == [1 / 8] * 8
    assert given[8] is None
    bridge.result("r0", {"outcome": Finished()})
    assert bridge.suggest("r9") is not None
    assert bridge.suggest("r10") is None
    bridge.interrupt()
    assert not packing.full


def test_a_lost_worker_gives_its_share_back_and_the_next_one_gets_it_again(packed):
    bridge, packing = packed
    for n in range(8):
        bridge.suggest(f"r{n}")
    bridge.lost("r0", "The actor died unexpectedly", machines=True)
    assert not packing.full
    again = bridge.suggest("r8")
    assert (again["proposal"].trial, again["work"].gpu) == (0, 1 / 8)
    assert packing.full


def test_measured_epochs_reach_the_packing(packed):
    bridge, packing = packed
    bridge.suggest("r0")
    bridge.result("r0", {"epoch": epoch_of(2 * predicted_bytes(proposal_of()))})
    assert packing.correction == pytest.approx(2.0)


def test_as_many_places_as_least_shares_and_cpus_allow(tmp_path):
    work = Work(place={}, folder=tmp_path, cpu=0.5, gpu=1.0, pack=True)
    assert places(work, {"CPU": 2.0, "GPU": 1.0}) == 4
    assert places(work, {"CPU": 64.0, "GPU": 2.0}) == 16


def test_what_is_written_is_not_asked_for(tmp_path):
    assert gpu_bytes(Work(place={}, folder=tmp_path, gpu=1.0, pack=True, gpu_bytes=5e9)) == 5e9
