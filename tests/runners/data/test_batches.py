"""The order of training images: what each step sees, whatever was interrupted before it."""

from __future__ import annotations

from itertools import chain, pairwise

import pytest

from blocks.architecture import Component
from blocks.errors import RunError
from runners.data import dataset
from runners.data.augment import generator
from runners.data.batches import Shuffled, training_batches
from runners.data.subset import chosen
from runners.training import Training

ENDLESS = [(20, 4, 7, 3), (20, 6, 23, 4), (5, 8, 9, 9), (3, 7, 5, 2), (10, 10, 4, 4), (1, 3, 4, 2)]


def rounds(order: Shuffled, epochs: int) -> list[list[list[tuple[int, int]]]]:
    given = []
    for epoch in range(1, epochs + 1):
        order.epoch, order.first = epoch, 0
        given.append(list(order))
        assert len(order) == len(given[-1])
    return given


def test_without_iterations_a_round_is_a_pass_without_its_incomplete_batch():
    order = Shuffled(22, 4, 9, epochs=3)
    for epoch, batches in enumerate(rounds(order, 3), start=1):
        shuffled = generator(9, epoch, 22).permutation(22).tolist()
        assert batches == [[(epoch, i) for i in shuffled[at : at + 4]] for at in (0, 4, 8, 12, 16)]
    assert order.steps == 15


def test_a_single_batch_may_be_incomplete():
    (batch,) = rounds(Shuffled(3, 8, 0, epochs=1), 1)[0]
    assert sorted(batch) == [(1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize(("samples", "batch", "iterations", "epochs"), ENDLESS)
def test_iterations_are_one_stream_of_whole_passes(samples, batch, iterations, epochs):
    order = Shuffled(samples, batch, 5, epochs=epochs, iterations=iterations)
    given = rounds(order, epochs)
    stream = list(chain.from_iterable(chain.from_iterable(given)))
    passes = -(-iterations * batch // samples)
    endless = [(p, i) for p in range(1, passes + 1) for i in generator(5, p, samples).permutation(samples).tolist()]
    assert stream == endless[: iterations * batch]
    assert all(len(b) == batch for b in chain.from_iterable(given))

    seen = [sum(index == i for _, index in stream) for i in range(samples)]
    assert max(seen) - min(seen) <= 1


@pytest.mark.parametrize(("samples", "batch", "iterations", "epochs"), ENDLESS)
def test_rounds_differ_by_one_step_at_most(samples, batch, iterations, epochs):
    order = Shuffled(samples, batch, 5, epochs=epochs, iterations=iterations)
    steps = [len(batches) for batches in rounds(order, epochs)]
    assert sum(steps) == order.steps == iterations
    assert max(steps) - min(steps) <= 1
    assert min(steps) > 0
    befores = [order.before(epoch) for epoch in range(1, epochs + 2)]
    assert [b - a for a, b in pairwise(befores)] == steps


@pytest.mark.parametrize("iterations", [0, 23])
@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_round_goes_on_from_any_batch(iterations, epoch):
    whole = rounds(Shuffled(20, 6, 5, epochs=4, iterations=iterations), 4)[epoch - 1]
    for first in range(len(whole) + 1):
        order = Shuffled(20, 6, 5, epochs=4, iterations=iterations)
        order.epoch, order.first = epoch, first
        assert list(order) == whole[first:]


def test_fewer_steps_than_rounds_are_refused():
    with pytest.raises(
        RunError, match=r"training\.iterations needs a step for every epoch: got iterations=3, epochs=4"
    ):
        Shuffled(20, 4, 0, epochs=4, iterations=3)


def test_a_share_is_drawn_once_and_part_of_every_larger_one():
    shares = [set(chosen(1000, share)) for share in (0.01, 0.1, 0.5, 1.0)]
    assert [len(s) for s in shares] == [10, 100, 500, 1000]
    assert all(a < b for a, b in pairwise(shares))
    assert list(chosen(1000, 0.1)) == sorted(shares[1])
    assert max(shares[1]) > 500, "not the first ones"
    assert len(chosen(7, 0.0001)) == 1


@pytest.mark.parametrize("iterations", [0, 9])
def test_a_share_is_all_that_is_seen_whatever_the_seed(iterations):
    for seed in (0, 1):
        given = rounds(Shuffled(40, 4, seed, epochs=3, iterations=iterations, share=0.25), 3)
        assert {index for _, index in chain.from_iterable(chain.from_iterable(given))} == set(chosen(40, 0.25))


def test_a_step_has_all_the_batches_whose_gradients_it_adds_up():
    samples = dataset(Component.of("shapes", {"size": (32, 32), "train": 20, "val": 1}), {}).split("train")
    options = {"batch": 2, "accumulate": 3, "epochs": 2}
    order, loader = training_batches(samples, Training(**options), 0, loaders=0, pin=False)
    assert [len(images) for images, _ in loader] == [6, 6, 6]
    assert order.steps == 6
