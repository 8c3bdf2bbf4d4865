"""How a trial ranks, worked out by hand."""

import pytest

from nas.analysis.standing import Standing, standing

GOALS = {"miou": "max", "macs": "min"}


def row(number, miou, macs, **more):
    return {"number": number, "state": "finished", "miou": miou, "macs": macs, "identity": str(number), **more}


ROWS = [row(0, 0.3, 1), row(1, 0.5, 3), row(2, 0.4, 3), row(3, 0.2, 5), row(4, 0.9, 9, state="stopped")]


def test_layers_count_from_the_front():
    assert standing(ROWS, GOALS, 0) == Standing(1, 3, 4, "miou")
    assert standing(ROWS, GOALS, 2) == Standing(2, 3, 4, "miou", 1, pytest.approx(0.1))
    # The best that costs no more counts, whatever layer lies between.
    assert standing(ROWS, GOALS, 3) == Standing(3, 3, 4, "miou", 1, pytest.approx(0.3))


def test_what_is_not_final_or_not_there_has_no_rank():
    assert standing(ROWS, GOALS, 4) is None
    assert standing(ROWS, GOALS, 17) is None
    assert standing([row(0, None, 1)], GOALS, 0) is None
    assert standing([], GOALS, 0) is None


def test_a_replayed_trial_stands_where_the_trained_one_does():
    rows = [*ROWS, {**row(5, 0.4, 3), "identity": "2", "state": "replayed"}]
    assert standing(rows, GOALS, 5) == standing(rows, GOALS, 2)


def test_equal_results_share_the_front():
    rows = [row(0, 0.5, 3), row(1, 0.5, 3)]
    assert [standing(rows, GOALS, n).layer for n in (0, 1)] == [1, 1]


def test_costs_alone_leave_nothing_to_miss():
    assert standing([row(0, 0.1, 5), row(1, 0.1, 3)], {"macs": "min"}, 0) == Standing(2, 2, 2)
    assert standing([row(0, 0.1, 5), row(1, 0.1, 3)], {"macs": "min"}, 1) == Standing(1, 2, 2)
    assert standing([row(0, 0.1, 5), row(1, 0.2, 3)], {"miou": "max"}, 0) == Standing(
        2, 2, 2, "miou", 1, pytest.approx(0.1)
    )
