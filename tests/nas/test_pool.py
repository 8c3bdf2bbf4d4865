"""The candidates that a model chooses from."""

from __future__ import annotations

import random

import numpy as np
import pytest

from nas.propose.pool import Pool, neighbours
from nas.propose.surrogate import Encoder
from nas.space import Space

SMALL = """
data: {shapes: {size: [32, 32]}}
shared: {width: {choice: [8, 16]}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  context: {choice: {none: , ppm: {channels: {shared: width}, bins: {choice: [[1, 2], [1, 3]]}}}}
  align: {bilinear: {channels: {shared: width}}}
training: {epochs: 2}
forbid: [{backbone.timm.model: test_resnet, context: ppm}]
"""
LARGE = """
data: {shapes: {size: [32, 32]}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  context: {choice: {none: , ppm: {channels: {int: [8, 512], step: 8}, bins: {choice: [[1, 2], [1, 3]]}}}}
  align: {bilinear: {channels: {int: [8, 512], step: 8}}}
training: {epochs: 2}
forbid: [{backbone.timm.model: test_resnet, context: ppm}]
"""
CONTINUOUS = LARGE.replace("{epochs: 2}", "{epochs: 2, learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}")


def pool_of(text):
    space = Space.loads(text)
    encoder = Encoder(space.questions())
    return space, encoder, Pool(space, encoder)


def rng_of(seed=0):
    return np.random.default_rng(seed)


def test_a_small_space_is_offered_whole_and_each_candidate_until_it_is_taken():
    space, _, pool = pool_of(SMALL)
    everything = list(space.enumerate())
    for left in range(len(everything), 0, -1):
        found, places = pool.candidates(rng_of(), [])
        assert len(found) == len(places) == len({place.tobytes() for place in places}) == left
        pool.take(places[0])
        assert pool.taken(places[0])
    assert pool.candidates(rng_of(), [])[0] == []
    assert pool.drawn(rng_of(), 3) == []
    assert len(pool.drawn(rng_of(), 3, of_all=True)) == 3


def test_places_tell_candidates_apart():
    space, encoder, _ = pool_of(SMALL)
    answers = [candidate.answers for candidate in space.enumerate()]
    assert len({encoder(a).tobytes() for a in answers}) == len(answers)


@pytest.mark.parametrize("text", [LARGE, CONTINUOUS])
def test_of_a_large_space_each_offer_is_allowed_new_and_there_once(text):
    space, encoder, pool = pool_of(text)
    best = [space.sample(random.Random(n)).answers for n in range(3)]
    taken = {encoder(answers).tobytes() for answers in best}
    for answers in best:
        pool.take(encoder(answers))
    found, places = pool.candidates(rng_of(), best)
    kinds = {place.tobytes() for place in places}
    assert len(found) == len(kinds) > 100
    assert not kinds & taken
    for candidate, place in zip(found, places, strict=True):
        # Forbidden ones would raise.
        again = space.choose(lambda question, given=candidate.answers: given[question.path])
        assert np.array_equal(encoder(again.answers), place, equal_nan=True)


def test_around_the_best_is_looked_at_more_closely():
    space, _, pool = pool_of(LARGE)
    best = space.sample(random.Random(1)).answers

    def near(candidates):
        return sum(sum(c.answers.get(path) != value for path, value in best.items()) <= 1 for c in candidates)

    assert near(pool.candidates(rng_of(), [best])[0]) > near(pool.candidates(rng_of(), [])[0])


def test_more_of_the_best_than_there_is_room_for_still_gives_each_a_neighbour():
    space, _, pool = pool_of(LARGE)
    best = [space.sample(random.Random(n)).answers for n in range(500)]
    found, _ = pool.candidates(rng_of(), best)
    assert len(found) >= 200


@pytest.mark.parametrize("text", [SMALL, LARGE, CONTINUOUS])
def test_the_same_numbers_draw_the_same_candidates(text):
    offers = [pool_of(text)[2].candidates(rng_of(7), [])[1] for _ in range(2)]
    assert np.array_equal(*offers, equal_nan=True)
    drawings = [[place.tobytes() for _, place in pool_of(text)[2].drawn(rng_of(7), 20)] for _ in range(2)]
    assert drawings[0] == drawings[1]
    assert len(drawings[0]) == len(set(drawings[0]))


def test_neighbours_differ_in_one_answer_and_in_what_it_opens():
    space, _, _ = pool_of(SMALL)
    questions = {question.path: question for question in space.questions()}
    for candidate in space.enumerate():
        for other in neighbours(space, questions, candidate.answers, random.Random(0)):
            common = candidate.answers.keys() & other.answers.keys()
            assert sum(candidate.answers[path] != other.answers[path] for path in common) == 1
