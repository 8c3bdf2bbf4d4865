"""Trainings that are counted in steps: rounds in place of passes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from blocks.errors import RunError
from blocks.network import Supervised
from runners.optimise import Fit, learning_rate
from runners.protocol import Finished
from runners.training import Training

# Twenty images, so passes of five batches of four; rounds of 3, 4, 4 steps or of 2 and 3.
OPTIONS = [
    {"epochs": 3, "iterations": 11, "ema": 0.9, "drop_path": 0.3},
    pytest.param(
        {"epochs": 2, "iterations": 5, "batch": 3, "accumulate": 3, "subset": 0.5},
        marks=pytest.mark.slow,
        id="accumulated",
    ),
]


def weights(work, trial):
    return torch.load(work.checkpoint(trial), weights_only=True)["fit"]["supervised"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def steps(monkeypatch):
    """Every step that is taken, with the steps of the schedule and the images that it saw."""
    taken, real = [], Fit.step

    def step(self, images, labels, *, step, steps, parts=1, batch=None):
        taken.append((step, steps, len(images)))
        return real(self, images, labels, step=step, steps=steps, parts=parts, batch=batch)

    monkeypatch.setattr(Fit, "step", step)
    return taken


@pytest.mark.parametrize("options", OPTIONS)
def test_so_many_steps_are_taken_in_so_many_rounds(proposal, carry_out, work, steps, options):
    epochs, outcome = carry_out(proposal(**options), work)
    total, images = options["iterations"], options.get("batch", 4) * options.get("accumulate", 1)
    assert outcome == Finished()
    assert steps == [(step, total, images) for step in range(total)]
    assert [e.epoch for e in epochs] == list(range(1, options["epochs"] + 1))
    ends = [total * epoch // options["epochs"] - 1 for epoch in range(1, options["epochs"] + 1)]
    training = Training(epochs=options["epochs"])
    assert [e.learning_rate for e in epochs] == [learning_rate(end, total, training) for end in ends]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_training_goes_on_from_any_round(proposal, carry_out, work, numbers, options):
    whole, _ = carry_out(proposal(0, **options), work)
    first, _ = carry_out(proposal(1, **options), work, until=1)
    torch.manual_seed(99)
    rest, outcome = carry_out(proposal(1, done=1, **options), work)
    assert outcome == Finished()
    assert numbers(first + rest) == numbers(whole)
    assert same(weights(work, 0), weights(work, 1))


@pytest.mark.parametrize("options", OPTIONS)
def test_a_round_goes_on_where_it_was_saved(proposal, carry_out, work, monkeypatch, options):
    """To the last bit, and without repeating a step."""
    work = dataclasses.replace(work, checkpoint_minutes=1e-9)
    whole, _ = carry_out(proposal(0, **options), work)
    real, steps = Fit.step, []

    def killed(self, *args, step, **more):
        steps.append(step)
        if step == 4 and steps.count(step) == 1:
            raise KeyboardInterrupt
        return real(self, *args, step=step, **more)

    monkeypatch.setattr(Fit, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        carry_out(proposal(1, **options), work)
    torch.manual_seed(99)
    rest, outcome = carry_out(proposal(1, done=1, **options), work)
    assert outcome == Finished()
    assert steps == [0, 1, 2, 3, 4, *range(4, options["iterations"])]
    assert [(e.loss, e.class_iou) for e in rest] == [(e.loss, e.class_iou) for e in whole[1:]]
    assert same(weights(work, 0), weights(work, 1))


@pytest.mark.slow
def test_processes_that_load_change_no_number(proposal, carry_out, work, numbers):
    options = {"epochs": 3, "iterations": 7, "batch": 3, "accumulate": 2, "subset": 0.5}
    none, _ = carry_out(proposal(**options), work)
    two, _ = carry_out(proposal(1, **options), dataclasses.replace(work, loaders=2))
    assert numbers(none) == numbers(two)


def test_fewer_steps_than_rounds_end_before_the_first(proposal, carry_out, work, steps):
    with pytest.raises(RunError, match=r"training\.iterations needs a step for every epoch"):
        carry_out(proposal(epochs=3, iterations=2), work)
    assert not steps


def test_a_share_of_the_images_makes_shorter_passes(proposal, carry_out, work, steps):
    carry_out(proposal(subset=0.5), work)
    assert [step for step, _, _ in steps] == [0, 1, 2, 3]


def test_want_of_memory_halves_each_of_the_batches(proposal, carry_out, work, monkeypatch):
    """Of three batches of four that make a step."""
    seen, real = [], Supervised.forward

    def forward(supervised, images, labels):
        seen.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return real(supervised, images, labels)

    monkeypatch.setattr(Supervised, "forward", forward)
    epochs, outcome = carry_out(proposal(epochs=1, iterations=2, accumulate=3), work)
    assert outcome == Finished()
    assert seen == [4] + [2] * 12
    assert [epoch.accumulation for epoch in epochs] == [2]
