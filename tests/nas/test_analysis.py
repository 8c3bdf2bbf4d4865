import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import QueryError
from nas.analysis.fronts import candidates, direction_of, front, hypervolume, layers

OBJECTIVES = {"miou": "max", "macs": "min"}


def rows_of(*points: tuple[float | None, float | None]) -> list[dict[str, object]]:
    return [{"number": n, "state": "finished", "miou": m, "macs": c} for n, (m, c) in enumerate(points)]


def numbers(rows: list[dict[str, object]]) -> list[object]:
    return [row["number"] for row in rows]


def test_the_front_is_what_nothing_dominates_in_order_of_cost() -> None:
    rows = rows_of((0.5, 9e9), (0.3, 1e9), (0.2, 2e9), (0.4, 2e9), (0.5, 9.5e9))
    assert numbers(front(rows, OBJECTIVES)) == [1, 3, 0]


def test_the_direction_turns_the_front_around() -> None:
    rows = rows_of((0.5, 9e9), (0.3, 1e9), (0.2, 2e9))
    assert numbers(front(rows, {"miou": "min", "macs": "max"})) == [2, 0]
    assert numbers(front(rows, {"miou": "max"})) == [0]


def test_equals_stay_together_and_a_replay_is_the_trial_it_repeats() -> None:
    rows = rows_of((0.5, 1e9), (0.5, 1e9), (0.5, 1e9))
    for row, identity in zip(rows, "abb", strict=True):
        row["identity"] = identity
    rows[2]["state"] = "replayed"
    assert numbers(front(rows, OBJECTIVES)) == [0, 1]


def test_only_final_results_count_unless_asked_otherwise() -> None:
    rows = rows_of((0.5, 1e9), (0.9, 1e9), (0.4, 2e9))
    rows[1]["state"] = "stopped"
    assert numbers(front(rows, OBJECTIVES)) == [0]
    assert numbers(front(rows, OBJECTIVES, states={"stopped", "finished"})) == [1]
    assert numbers(front(rows, OBJECTIVES, states=None)) == [1]


def test_what_has_no_number_is_left_out() -> None:
    rows = rows_of((None, 1e9), (math.nan, 1e9), (0.1, None), (0.1, math.inf), (0.2, 5e9))
    assert numbers(candidates(rows, OBJECTIVES)) == [4]
    assert numbers(front(rows, OBJECTIVES)) == [4]


def test_without_rows_there_is_no_front() -> None:
    assert front([], OBJECTIVES) == []
    assert layers([], OBJECTIVES) == []
    assert hypervolume([], OBJECTIVES, {"miou": 0.0, "macs": 1e10}) == 0.0


def test_layers_peel_one_front_after_another() -> None:
    rows = rows_of((0.5, 2e9), (0.3, 1e9), (0.4, 3e9), (0.2, 2e9), (0.1, 9e9))
    assert [numbers(layer) for layer in layers(rows, OBJECTIVES)] == [[0, 1], [2, 3], [4]]


def test_the_hypervolume_is_the_area_to_the_reference() -> None:
    rows = rows_of((0.5, 6.0), (0.3, 2.0), (0.1, 7.0))
    area = (10 - 6) * 0.5 + (6 - 2) * 0.3
    assert hypervolume(rows, OBJECTIVES, {"miou": 0.0, "macs": 10.0}) == pytest.approx(area)
    with pytest.raises(QueryError, match="missing=\\['macs'\\]"):
        hypervolume(rows, OBJECTIVES, {"miou": 0.0})


@pytest.mark.parametrize("objectives", [{}, {"miou": "maximum"}])
def test_objectives_must_make_sense(objectives: dict[str, str]) -> None:
    for ask in (front, layers):
        with pytest.raises(QueryError):
            ask(rows_of((0.5, 1e9)), objectives)


def test_scores_go_up_and_costs_go_down() -> None:
    assert [direction_of(name) for name in ("miou", "pixel_accuracy", "macs", "latency_ms")] == ["max"] * 2 + [
        "min"
    ] * 2


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), max_size=25))
def test_the_front_is_the_definition(points: list[tuple[int, int, int]]) -> None:
    objectives = {"miou": "max", "macs": "min", "params": "min"}
    rows = [dict(zip(objectives, p, strict=True), number=n, state="finished") for n, p in enumerate(points)]

    def beats(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool:
        return a != b and a[0] >= b[0] and a[1] <= b[1] and a[2] <= b[2]

    expected = {n for n, p in enumerate(points) if not any(beats(q, p) for q in points)}
    assert set(numbers(front(rows, objectives))) == expected
    first = layers(rows, objectives)[0] if rows else []
    assert set(numbers(first)) == expected


def test_a_hundred_thousand_trials_are_no_wait() -> None:
    draw = random.Random(0)
    rows = rows_of(*((draw.random(), draw.random()) for _ in range(100_000)))
    assert 2 <= len(front(rows, OBJECTIVES)) < 200
