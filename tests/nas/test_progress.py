import random
from datetime import UTC, datetime, timedelta

import pytest

from blocks.errors import QueryError
from nas.analysis.fronts import hypervolume
from nas.analysis.progress import box, default_reference, progress

OBJECTIVES = {"miou": "max", "macs": "min"}
START = datetime(2026, 11, 21, tzinfo=UTC)


def row_of(number: int, miou: float | None, macs: float, **facts: object) -> dict[str, object]:
    ended = START + timedelta(minutes=number)
    return {
        "number": number,
        "state": "finished",
        "miou": miou,
        "macs": macs,
        "epochs": 4,
        "train_seconds": 1800.0,
        "ended": ended,
    } | facts


def test_each_trial_adds_what_it_cost_and_what_it_found() -> None:
    rows = [row_of(0, 0.5, 6.0), row_of(1, 0.4, 7.0), row_of(2, 0.3, 2.0)]
    found = progress(rows, OBJECTIVES, {"miou": 0.0, "macs": 10.0})
    assert [step["trial"] for step in found] == [0, 1, 2]
    assert [step["epochs"] for step in found] == [4, 8, 12]
    assert [step["hours"] for step in found] == pytest.approx([0.5, 1.0, 1.5])
    assert [step["hypervolume"] for step in found] == pytest.approx([2.0, 2.0, 2.0 + 0.3 * 4])


def test_what_failed_or_was_stopped_is_paid_for_and_a_replay_is_not() -> None:
    rows = [
        row_of(0, 0.9, 1.0, state="stopped", epochs=1),
        row_of(1, None, 1.0, state="failed", epochs=2, train_seconds=None),
        row_of(2, 0.5, 5.0, identity="a"),
        row_of(3, 0.5, 5.0, identity="a", state="replayed"),
    ]
    found = progress(rows, OBJECTIVES, {"miou": 0.0, "macs": 10.0}, gpus=2)
    assert [step["epochs"] for step in found] == [1, 3, 7, 7]
    assert [step["hours"] for step in found] == pytest.approx([1.0, 1.0, 2.0, 2.0])
    assert [step["hypervolume"] for step in found] == pytest.approx([0, 0, 2.5, 2.5])


def test_trials_come_in_the_order_of_their_ends_and_the_unended_last() -> None:
    rows = [row_of(0, 0.5, 5.0, ended=None, state="running"), row_of(1, 0.5, 5.0), row_of(2, 0.5, 5.0, ended=START)]
    assert [step["trial"] for step in progress(rows, OBJECTIVES, {"miou": 0, "macs": 10})] == [2, 1, 0]


@pytest.mark.parametrize("objectives", [OBJECTIVES, OBJECTIVES | {"params": "min"}])
def test_the_path_is_the_hypervolume_of_every_beginning(objectives: dict[str, str]) -> None:
    draw = random.Random(3)
    rows = [row_of(n, round(draw.random(), 1), draw.randint(1, 12), params=draw.randint(1, 9)) for n in range(60)]
    reference = {"miou": 0.2, "macs": 9.0, "params": 8.0}
    found = progress(rows, objectives, reference)
    expected = [hypervolume(rows[: n + 1], objectives, reference) for n in range(len(rows))]
    assert [step["hypervolume"] for step in found] == pytest.approx(expected)


def test_the_reference_is_no_score_at_the_greatest_cost() -> None:
    rows = [row_of(0, 0.5, 6.0), row_of(1, 0.4, 7.0), row_of(2, 0.9, 99.0, state="stopped")]
    assert default_reference(rows, OBJECTIVES) == {"miou": 0.0, "macs": 7.0}
    assert default_reference([], OBJECTIVES) == {"miou": 0.0, "macs": 1.0}
    assert progress([], OBJECTIVES, {"miou": 0.0, "macs": 1.0}) == []
    assert box(OBJECTIVES, {"miou": 0.0, "macs": 7.0}) == 7.0


def test_an_end_that_is_not_known_is_refused() -> None:
    with pytest.raises(QueryError, match="other way round"):
        box({"macs": "max"}, {"macs": 5.0})
    with pytest.raises(QueryError, match="above 0"):
        box(OBJECTIVES, {"miou": 0.0, "macs": 0.0})
    with pytest.raises(QueryError, match="missing"):
        progress([], OBJECTIVES, {"miou": 0.0})
