"""What partial order pruning may leave out: nothing that could have improved the front, if its assumption holds."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import SpaceError
from nas.propose.partial_order import PartialOrder
from nas.space import Choices, Question, Space, Span

GOALS = {"miou": "max", "macs": "min"}
WIDTH = Question("width", Span("int", 0, 4, 1), ordered=True)
DEPTH = Question("depth", Choices(("shallow", "medium", "deep")), ordered=True)
HEAD = Question("head", Choices(("linear", "ssa")))
EVERYTHING = [
    dict(zip(("width", "depth", "head"), a, strict=True))
    for a in itertools.product(WIDTH.domain, DEPTH.domain, HEAD.domain)
]


def order(*results, goals=GOALS):
    made = PartialOrder([WIDTH, DEPTH, HEAD], goals)
    for number, (answers, values) in enumerate(results):
        made.add(number, answers, values)
    return made


def network(width, depth="shallow", head="linear"):
    return {"width": width, "depth": depth, "head": head}


@st.composite
def landscapes(draw):
    """Figures for every network that respect the order: each is a running maximum over what is narrower."""
    steps = {
        name: draw(st.lists(st.integers(0, 3), min_size=30, max_size=30)) for name in ("miou", "macs", "latency_ms")
    }
    found = []
    for place, answers in enumerate(EVERYTHING):
        below = [values for other, values in found if at_most(other, answers)]
        found.append((answers, {name: max([v[name] for v in below], default=0) + steps[name][place] for name in steps}))
    return found


def at_most(left, right):
    steps = [DEPTH.domain.values.index(network["depth"]) for network in (left, right)]
    return left["head"] == right["head"] and left["width"] <= right["width"] and steps[0] <= steps[1]


def reaches(values, others, goals):
    return all(values[n] >= others[n] if goal == "max" else values[n] <= others[n] for n, goal in goals.items())


@pytest.mark.parametrize("goals", [GOALS, GOALS | {"latency_ms": "min"}], ids=["known costs", "a measured cost"])
@given(landscapes(), st.randoms(use_true_random=False))
def test_what_is_skipped_is_matched_by_a_result_in_every_objective(goals, landscape, chance):
    made = order(goals=goals)
    trained, skipped = {}, []
    for number in chance.sample(range(len(landscape)), len(landscape)):
        answers, values = landscape[number]
        found = made.hopeless(answers, {"macs": values["macs"]})
        if found is None:
            made.add(number, answers, values)
            trained[number] = values
        else:
            skipped.append(values)
            assert {found.wider, found.better} <= trained.keys(), "the pair has to be of results"
            assert reaches(trained[found.better], values, goals)
            assert reaches(found.bounds, values, goals), "the bounds are optimistic"
    for values in skipped:
        assert any(reaches(result, values, goals) for result in trained.values())


@given(landscapes(), st.integers(0, 29), st.randoms(use_true_random=False))
def test_the_order_of_the_results_does_not_matter(landscape, candidate, chance):
    answers, values = landscape[candidate]
    results = chance.sample(landscape, 12)
    shuffled = chance.sample(results, len(results))
    verdicts = [order(*rows).hopeless(answers, {"macs": values["macs"]}) is None for rows in (results, shuffled)]
    assert verdicts[0] == verdicts[1]


def test_a_wider_network_bounds_it_and_a_cheaper_one_beats_the_bound():
    wide, other = (network(4), {"miou": 0.5, "macs": 8.0}), (network(0, head="ssa"), {"miou": 0.6, "macs": 1.0})
    found = order(wide, other).hopeless(network(2), {"macs": 4.0})
    assert (found.wider, found.better) == (0, 1)
    assert str(found) == "hopeless: bounded by trial 0 to miou 0.5, macs 4, which trial 1 reaches already"


@pytest.mark.parametrize(
    "candidate",
    [network(2, head="ssa"), network(4, "deep"), network(0)],
    ids=["it differs elsewhere", "nothing is wider", "it is cheaper than any result"],
)
def test_what_the_results_say_nothing_about_is_trained(candidate):
    results = [(network(3), {"miou": 0.5, "macs": 8.0}), (network(1), {"miou": 0.6, "macs": 5.0})]
    macs = 1.0 if candidate["width"] == 0 else 9.0
    assert order(*results).hopeless(candidate, {"macs": macs}) is None


def test_a_question_that_is_not_open_for_both_makes_them_different():
    wide = {"width": 4, "depth": "deep", "head": "linear"}
    made = order((wide, {"miou": 0.1, "macs": 1.0}))
    assert made.hopeless({"width": 2, "head": "linear"}, {"macs": 5.0}) is None
    assert made.hopeless({"width": 2, "depth": "deep", "head": "linear"}, {"macs": 5.0}) is not None


def test_equal_to_a_result_is_no_better():
    made = order((network(2), {"miou": 0.5, "macs": 4.0}))
    assert made.hopeless(network(2), {"macs": 4.0}) is not None
    assert made.hopeless(network(2), {"macs": 3.9}) is None


TEXT = """
data: {shapes: {size: [32, 32]}}
architecture:
  backbone: {timm: {model: test_resnet}}
  context: {ppm: {channels: WIDTH}}
search: {partial_order: true}
"""


@pytest.mark.parametrize("width", ["{choice: [8, 16], ordered: true}", "{int: [8, 64], step: 8, ordered: true}"])
def test_a_space_declares_what_is_ordered(width):
    space = Space.loads(TEXT.replace("WIDTH", width))
    assert [(q.path, q.ordered) for q in space.questions()] == [("architecture.context.ppm.channels", True)]


@pytest.mark.parametrize(
    ("width", "message"),
    [
        ("{choice: [8, 16]}", r"search\.partial_order needs a question that is ordered"),
        ("{choice: [8, 16], ordered: yes}", "ordered: true or false"),
        ("{choice: [8, 16], orderd: true}", "Did you mean 'ordered'"),
    ],
)
def test_mistakes_about_the_order_are_said(width, message):
    with pytest.raises(SpaceError, match=message):
        Space.loads(TEXT.replace("WIDTH", width))
