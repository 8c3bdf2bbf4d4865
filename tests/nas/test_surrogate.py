"""The model of the score: what it says of networks that were trained, and of those that were not."""

from __future__ import annotations

import random

import numpy as np
import pytest

from nas.propose.surrogate import Encoder, Seen, Surrogate
from nas.space import Space

SPACE = Space.loads("""
data: {shapes: {size: [32, 32]}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  context: {choice: {none: , ppm: {channels: {choice: [8, 16, 64]}, bins: {choice: [[1, 2], [1, 3]]}}}}
  align: {bilinear: {channels: {int: [8, 64], step: 8}}}
training: {epochs: 8, learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}
""")
ENCODER = Encoder(SPACE.questions())
EPOCHS = 8


def networks(count, seed=0):
    chance = random.Random(seed)
    return np.array([ENCODER(SPACE.sample(chance).answers) for _ in range(count)])


def quality(places):
    """Additive in the first answers, whatever they open."""
    return 0.3 + 0.2 * places[:, 0] + 0.1 * places[:, 1]


def finals(places, values):
    count = len(places)
    return Seen(places, np.zeros(count), np.arange(count, dtype=np.float64), values)


def fitted(seen):
    model = Surrogate(ENCODER)
    model.fit(seen)
    return model


def as_new(model, seen, places):
    return model.predict(seen, places, np.full(len(places), -1.0))


def test_an_answer_that_was_not_asked_is_none_and_lists_are_answers():
    paths = [question.path for question in SPACE.questions()]
    assert np.isnan(ENCODER({})).all()
    place = ENCODER({"architecture.context.ppm.bins": (1, 3), "architecture.context.ppm.channels": 16})
    assert place[paths.index("architecture.context.ppm.bins")] == 1.0
    assert place[paths.index("architecture.context.ppm.channels")] == 0.5  # by rank
    rate = ENCODER({"training.learning_rate": 1e-3})[paths.index("training.learning_rate")]
    assert rate == pytest.approx(0.5)  # on its logarithmic scale


def test_distances_are_metrics_from_0_to_1():
    places = networks(40)
    apart = ENCODER.distances(places, places)
    assert apart.shape == (len(SPACE.questions()), 40, 40)
    assert ((apart >= 0) & (apart <= 1)).all()
    assert (np.diagonal(apart, axis1=1, axis2=2) == 0).all()
    assert np.array_equal(apart, apart.transpose(0, 2, 1))
    assert (apart[:, :, None, :] <= apart[:, :, :, None] + apart[:, None, :, :] + 1e-12).all()


def test_known_finals_are_met_and_unknown_ones_told_from_the_choices():
    places, others = networks(40), networks(40, seed=1)
    seen = finals(places, quality(places))
    model = fitted(seen)
    mean, spread = as_new(model, seen, places)
    assert mean == pytest.approx(quality(places), abs=0.02)
    guess, doubt = as_new(model, seen, others)
    assert np.corrcoef(guess, quality(others))[0, 1] > 0.98
    assert spread.mean() < doubt.mean() + 1e-12
    own, certain = model.predict(seen, places, seen.trials)
    assert own == pytest.approx(quality(places), abs=0.02)
    assert certain.mean() < doubt.mean()


def test_doubt_grows_away_from_what_is_known():
    places = networks(30)
    near = places[places[:, 0] == 0]
    seen = finals(near, 0.3 + 0.01 * np.arange(len(near)))
    _, spread = as_new(fitted(seen), seen, places)
    assert spread[places[:, 0] == 1].mean() > spread[places[:, 0] == 0].mean()


def halves(last, early, places):
    """Each trial at half of its schedule and at its end."""
    count = len(places)
    trials = np.arange(count, dtype=np.float64)
    left = np.r_[np.ones(count), np.zeros(count)]
    return Seen(np.vstack([places, places]), left, np.r_[trials, trials], np.r_[early, last])


def influence(seen, place, low, high):
    """How much more a network promises that scored `high`, not `low`, at half of its schedule."""
    means = []
    for early in (low, high):
        more = Seen(
            np.vstack([seen.places, place]),
            np.r_[seen.left, 1.0],
            np.r_[seen.trials, 1000.0],
            np.r_[seen.values, early],
        )
        model = fitted(more)
        means.append(model.predict(more, place[None], np.array([1000.0]))[0][0])
    return means[1] - means[0]


def test_an_early_score_counts_as_much_as_early_scores_have_counted_for():
    rng = np.random.default_rng(0)
    # Equal choices, so that only its own early score tells a trial from another.
    places = np.repeat(networks(1), 24, axis=0)
    last = rng.normal(0.5, 0.1, 24)
    telling = halves(last, 0.8 * last, places)
    misleading = halves(last, 0.8 * rng.permutation(last), places)
    told, misled = (influence(seen, places[0], 0.3, 0.5) for seen in (telling, misleading))
    assert told > 0.05
    assert told > 2 * abs(misled)


def test_scores_on_another_scale_give_predictions_on_that_scale():
    places, others = networks(25), networks(10, seed=2)
    small, large = finals(places, quality(places)), finals(places, 10 * quality(places) + 3)
    mean, spread = as_new(fitted(small), small, others)
    ten, wide = as_new(fitted(large), large, others)
    assert ten == pytest.approx(10 * mean + 3, rel=1e-4)
    assert wide == pytest.approx(10 * spread, rel=1e-3)


@pytest.mark.parametrize("values", [[0.4], [0.4, 0.4, 0.4], [0.0, 0.0], [0.1] * 10])
def test_one_score_or_equal_ones_are_no_mistake(values):
    places = networks(len(values))
    seen = finals(places, np.array(values))
    mean, spread = as_new(fitted(seen), seen, networks(5, seed=3))
    assert mean == pytest.approx(values[0], abs=1e-6)
    assert (spread > 0).all()
    assert np.isfinite(spread).all()


def test_the_same_network_twice_with_two_scores_is_between_them():
    place = networks(1)
    places = np.vstack([place, place, networks(6, seed=4)])
    seen = finals(places, np.array([0.2, 0.4, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]))
    mean, _ = as_new(fitted(seen), seen, place)
    assert 0.2 < mean[0] < 0.4


def test_a_fit_follows_from_what_is_seen_and_not_from_an_earlier_one():
    places = networks(300)
    values = quality(places)
    model = Surrogate(ENCODER)
    for count in (10, 60, 300):
        model.fit(finals(places[:count], values[:count]))
    seen = finals(places, values)
    assert np.array_equal(as_new(model, seen, places), as_new(fitted(seen), seen, places))
