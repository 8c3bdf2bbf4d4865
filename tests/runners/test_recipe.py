import dataclasses
import gc
import logging
import math
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from blocks.architecture import Component
from blocks.catalogue import component
from blocks.errors import DataError, RunError
from blocks.network import Supervised
from runners.data import dataset
from runners.failure import Diverged, failure
from runners.optimise import Fit
from runners.protocol import Finished, Rejected
from runners.recipe import train
from runners.trial import Trial

CPU = torch.device("cpu")


def weights(work, trial=0, name="checkpoint.pt"):
    state = torch.load(work.checkpoint(trial).with_name(name), weights_only=True)
    return state["fit"]["supervised"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_an_epoch_says_what_it_promises(proposal, carry_out, work):
    # A size that no other test has: this process may remember the others' samples.
    unseen = Component.of("shapes", {"size": (32, 32), "train": 21, "val": 6})
    epochs, outcome = carry_out(proposal(data=unseen), work)
    assert outcome == Finished()
    assert [e.epoch for e in epochs] == [1, 2]
    for epoch in epochs:
        assert math.isfinite(epoch.loss)
        assert 0 <= epoch.miou <= 1
        assert 0 < epoch.pixel_accuracy <= 1
        assert len(epoch.class_iou) == 6
        assert epoch.seconds > 0
        assert epoch.train_memory_bytes > 50_000_000
        assert epoch.latency_ms is None
    assert epochs[0].learning_rate > epochs[1].learning_rate > 0
    assert "decoded 27 samples of shapes" in epochs[0].log
    assert epochs[1].log == ""


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_training_continued_from_a_checkpoint_is_training_in_one_go(proposal, carry_out, work, numbers, ema):
    """To the last bit, with dropped paths, an average, momentum and augmentation."""
    options = {"epochs": 3, "ema": ema, "drop_path": 0.3}
    whole, _ = carry_out(proposal(0, **options), work)
    first, _ = carry_out(proposal(1, **options), work, until=1)
    random.seed(99)
    torch.manual_seed(99)
    rest, outcome = carry_out(proposal(1, done=1, **options), work)
    assert outcome == Finished()
    assert numbers(first + rest) == numbers(whole)
    assert same(weights(work, 0), weights(work, 1))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_an_epoch_goes_on_where_it_was_saved(proposal, carry_out, work, monkeypatch, ema):
    """To the last bit, and without repeating a step; five of them make an epoch here."""
    options = {"epochs": 2, "ema": ema, "drop_path": 0.3}
    whole, _ = carry_out(proposal(0, **options), work)
    real, steps = Fit.step, []

    def killed(self, *args, step, **more):
        if step == 8 and step not in steps:
            steps.append(step)
            raise KeyboardInterrupt
        steps.append(step)
        return real(self, *args, step=step, **more)

    often = dataclasses.replace(work, checkpoint_minutes=1e-9)
    monkeypatch.setattr(Fit, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        carry_out(proposal(1, **options), often)
    torch.manual_seed(99)
    rest, outcome = carry_out(proposal(1, done=1, **options), often)
    assert outcome == Finished()
    assert steps == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9]
    assert (rest[0].loss, rest[0].class_iou) == (whole[1].loss, whole[1].class_iou)
    assert same(weights(work, 0), weights(work, 1))


def test_between_epochs_alone_where_it_was_asked_for(proposal, carry_out, work, monkeypatch):
    saved = []
    real = Trial.save
    monkeypatch.setattr(Trial, "save", lambda self, known, at=None: (saved.append(at), real(self, known, at)))
    carry_out(proposal(), dataclasses.replace(work, checkpoint_minutes=0))
    assert saved == [None, None]


class Small:
    """A device that holds so many images; keeps the sizes of the batches that went through."""

    def __init__(self, monkeypatch, most):
        self.seen, real = [], Supervised.forward

        def forward(supervised, images, labels):
            self.seen.append(len(images))
            if len(images) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return real(supervised, images, labels)

        monkeypatch.setattr(Supervised, "forward", forward)


def test_a_batch_too_large_is_taken_in_parts_and_recorded_so(proposal, carry_out, work, monkeypatch):
    device = Small(monkeypatch, most=2)
    epochs, outcome = carry_out(proposal(batch=8), work)
    assert outcome == Finished()
    assert device.seen == [8, 4] + [2] * 16  # two batches of eight an epoch
    assert [epoch.accumulation for epoch in epochs] == [4, 4]
    assert "out of memory: each batch is taken in 4 parts" in epochs[0].log


def test_a_trial_that_goes_on_knows_what_did_not_fit(proposal, carry_out, work, monkeypatch):
    carry_out(proposal(batch=8), work, until=1)
    device = Small(monkeypatch, most=4)
    epochs, _ = carry_out(proposal(batch=8, epochs=2, done=1), work)
    assert [(e.epoch, e.accumulation) for e in epochs] == [(2, 2)]
    carry_out(proposal(1, batch=8), work, until=1)
    device.seen.clear()
    carry_out(proposal(1, batch=8, done=1), work)
    assert device.seen == [4] * 4


def test_want_of_memory_ends_a_trial_in_the_end(proposal, carry_out, work, monkeypatch):
    device = Small(monkeypatch, most=0)
    with pytest.raises(torch.OutOfMemoryError):
        carry_out(proposal(batch=16), work)
    assert device.seen == [16, 8, 4]
    device.seen.clear()
    with pytest.raises(torch.OutOfMemoryError):
        carry_out(proposal(batch=4), work)
    assert device.seen == [4, 2]  # a batch norm cannot train on one image


def test_what_a_loss_remembers_survives_too(proposal, carry_out, work, numbers):
    memory = component("auxiliary", "contrast", {"channels": 8, "max_views": 2, "memory_size": 7})
    options = {"epochs": 3, "auxiliary": (memory,)}
    whole, _ = carry_out(proposal(0, **options), work)
    first, _ = carry_out(proposal(1, **options), work, until=1)
    rest, _ = carry_out(proposal(1, done=1, **options), work)
    assert numbers(first + rest) == numbers(whole)
    kept = weights(work, 1)
    assert kept["auxiliary.0.pixel_queue.written"].any(), "something is remembered"
    assert same(weights(work, 0), kept)


def test_epochs_that_nobody_heard_of_are_told_without_training(proposal, carry_out, work, numbers, monkeypatch):
    """The worker had written its checkpoint, and the driver died before it recorded the epoch."""
    whole, _ = carry_out(proposal(), work)
    monkeypatch.setattr(Trial, "epoch", None)
    again, outcome = carry_out(proposal(done=1), work)
    assert again == whole[1:]
    assert outcome == Finished()


@pytest.mark.parametrize("damage", ["missing", "cut", "other seed"])
@pytest.mark.slow
def test_a_checkpoint_that_does_not_serve_means_starting_again(proposal, carry_out, work, numbers, damage):
    whole, _ = carry_out(proposal(seed=1), work)
    path = work.checkpoint(0)
    if damage == "missing":
        path.unlink()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    if damage == "other seed":
        carry_out(proposal(seed=2), work)
    again, _ = carry_out(proposal(seed=1, done=1), work)
    assert numbers(again) == numbers(whole)
    assert "starts again" in again[0].log


@pytest.mark.parametrize(
    ("keep", "names"),
    [
        ("none", []),
        ("last", ["checkpoint.pt"]),
        ("front", ["checkpoint.pt"]),
        ("all", ["checkpoint.pt", "epoch-0001.pt", "epoch-0002.pt"]),
    ],
)
@pytest.mark.slow
def test_the_checkpoints_that_are_asked_for_stay(proposal, carry_out, work, keep, names):
    carry_out(proposal(), dataclasses.replace(work, keep=keep))
    folder = work.checkpoint(0).parent
    assert sorted(p.name for p in folder.glob("*")) == names
    if keep == "all":
        assert same(weights(work), weights(work, name="epoch-0002.pt"))
        assert not same(weights(work), weights(work, name="epoch-0001.pt"))


def test_nothing_is_left_to_the_next_trial(proposal, carry_out, work, numbers):
    """B alone gives what B gives after A, though A is another network, another precision and another seed."""
    alone, _ = carry_out(proposal(1), work)
    first = weights(work, 1)
    carry_out(proposal(2, model="test_efficientnet", precision="bfloat16", seed=7, ema=0.9), work, until=1)
    after, _ = carry_out(proposal(3), work)
    assert numbers(after) == numbers(alone)
    assert same(first, weights(work, 3))


def global_state():
    nas = logging.getLogger("nas")
    gc.collect()
    modules = sum(isinstance(o, nn.Module) for o in gc.get_objects())
    return (
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        nas.level,
        list(nas.handlers),
        list(warnings.filters),
        modules,
    )


def test_no_state_is_left_behind(proposal, carry_out, work):
    before, inside = global_state(), []
    carry_out(proposal(precision="bfloat16"), work, then=lambda _: inside.append(torch.is_autocast_enabled("cpu")))
    assert global_state() == before
    assert inside == [False, False]


@pytest.mark.slow
def test_seeds_differ_and_repeat(proposal, carry_out, work, numbers):
    runs = [numbers(carry_out(proposal(seed=seed, epochs=1), work)[0]) for seed in (0, 1, 0)]
    assert runs[0] == runs[2] != runs[1]


@pytest.mark.slow
def test_processes_that_load_change_no_number(proposal, carry_out, work, numbers):
    none, _ = carry_out(proposal(0), work)
    two, _ = carry_out(proposal(1), dataclasses.replace(work, loaders=2))
    assert numbers(none) == numbers(two)


def test_memory_for_samples_changes_no_number(proposal, carry_out, work, numbers):
    all_kept, _ = carry_out(proposal(epochs=1), work)
    none_kept, _ = carry_out(proposal(epochs=1), dataclasses.replace(work, cache_bytes=0))
    assert numbers(all_kept) == numbers(none_kept)


def test_a_loss_that_is_not_finite_ends_it_and_says_where(proposal, carry_out, work):
    wild = {"learning_rate": 100.0, "weight_decay": 10.0, "clip": 0.0, "schedule": "constant", "warmup": 0.0}
    with pytest.raises(Diverged) as error:
        carry_out(proposal(epochs=8, **wild), work)
    assert 1 < error.value.step <= 40
    assert error.value.epoch == (error.value.step - 1) // 5 + 1
    outcome = failure(error.value)
    assert outcome.reason == f"diverged at step {error.value.step} (epoch {error.value.epoch})"
    assert "Traceback" in outcome.traceback
    assert "finite loss: got loss=" in str(error.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TypeError("no such thing\nand more"), "crash: TypeError: no such thing"),
        (ValueError(), "crash: ValueError: "),
        (MemoryError(), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
    ],
)
def test_reasons_are_short(error, reason):
    assert failure(error, log="so far").reason == reason
    assert failure(error, log="so far").log == "so far"


def test_real_want_of_memory_is_called_so():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**55, dtype=torch.uint8)
    assert failure(error.value).reason == "out of memory"


def test_a_failure_carries_what_was_logged_before_it(proposal, carry_out, work, monkeypatch):
    def broken(self, number):
        logging.getLogger("nas.test").info("about to break")
        warnings.warn("it creaks", stacklevel=1)
        raise TypeError("broken")

    monkeypatch.setattr(Trial, "_train_epoch", broken)
    with pytest.raises(TypeError) as error:
        carry_out(proposal(), work)
    outcome = failure(error.value)
    assert outcome.reason == "crash: TypeError: broken"
    assert "about to break" in outcome.log
    assert "UserWarning: it creaks" in outcome.log
    assert "in broken" in outcome.traceback


def test_warnings_of_an_epoch_are_in_its_log(proposal, carry_out, work, monkeypatch):
    real = Trial._train_epoch

    def warning(self, known):
        warnings.warn(f"in epoch {len(known) + 1}", stacklevel=1)
        return real(self, known)

    monkeypatch.setattr(Trial, "_train_epoch", warning)
    epochs, _ = carry_out(proposal(), work)
    assert [f"in epoch {e.epoch}" in e.log for e in epochs] == [True, True]
    assert "in epoch 1" not in epochs[1].log


@pytest.mark.parametrize("limit", ["latency_ms", "peak_memory_bytes"])
def test_a_limit_is_measured_before_the_first_step(proposal, carry_out, work, limit):
    epochs, outcome = carry_out(proposal(limits={limit: 1e-6}), work)
    assert epochs == []
    assert isinstance(outcome, Rejected)
    assert (outcome.limit, outcome.allowed) == (limit, 1e-6)
    assert outcome.value > 1e-6
    assert outcome.excess > 0
    assert not work.checkpoint(0).exists()


def test_within_its_limits_a_trial_is_what_it_is_without(proposal, carry_out, work, numbers):
    free, _ = carry_out(proposal(epochs=1), work)
    limited, outcome = carry_out(proposal(epochs=1, limits={"latency_ms": 1e6, "peak_memory_bytes": 1e12}), work)
    assert outcome == Finished()
    assert numbers(free) == numbers(limited)


def test_a_limit_that_nobody_measures_is_a_mistake(proposal, carry_out, work):
    with pytest.raises(RunError, match="latency_ms, peak_memory_bytes: got limits"):
        carry_out(proposal(limits={"watts": 3.0}), work)


def test_latency_is_reported_where_it_is_an_objective(proposal, carry_out, work):
    asked = dataclasses.replace(work, objectives={"miou": "max", "latency_ms": "min"})
    epochs, _ = carry_out(proposal(), asked)
    assert epochs[0].latency_ms == epochs[1].latency_ms > 0


def test_data_that_are_not_those_of_the_protocol_are_refused(proposal, work):
    p = proposal()
    other = dataset(Component.of("shapes", {"size": (32, 32), "train": 21, "val": 6}), {})
    with pytest.raises(DataError, match="to be what the study began with"):
        next(train(p, work, other, CPU))


def test_class_weights_come_from_the_training_labels(proposal, carry_out, work):
    p = proposal(class_weights="inverse_log", epochs=1)
    plain, _ = carry_out(proposal(epochs=1), work)
    weighted, _ = carry_out(p, work)
    assert weighted[0].loss != plain[0].loss
    trial = Trial(p, work, dataset(p.protocol.data, {}), CPU)
    labels = np.stack([dataset(p.protocol.data, {}).split("train")[i][1].numpy() for i in range(20)])
    shares = np.bincount(labels.ravel(), minlength=6) / labels.size
    criterion = trial._fit.supervised.main[0]
    found = [b for b in criterion.buffers() if b.shape == (6,)]
    assert found
    np.testing.assert_allclose(found[0].numpy(), 1 / np.log(1.02 + shares), rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{"optimizer": "sgd"}, {"batch": 64}, {"schedule": "poly", "ema": 0.9}, {"clip": 0.0}]
)
@pytest.mark.slow
def test_options_that_nothing_else_tries(proposal, carry_out, work, options):
    epochs, outcome = carry_out(proposal(epochs=1, **options), work)
    assert outcome == Finished()
    assert math.isfinite(epochs[0].loss)


def test_an_objective_that_must_be_measured_is_measured(proposal, carry_out, work):
    asked = dataclasses.replace(work, objectives={"miou": "max", "peak_memory_bytes": "min"})
    (epoch,), _ = carry_out(proposal(epochs=1), asked)
    assert epoch.latency_ms > 0
    assert epoch.peak_memory_bytes > 100_000
    (epoch,), _ = carry_out(proposal(trial=1, epochs=1), work)
    assert (epoch.latency_ms, epoch.peak_memory_bytes) == (None, None)
