import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import QueryError
from nas.analysis.yardstick import Yardstick, at, reached

OBJECTIVES = {"miou": "max", "macs": "min"}
ROWS = st.lists(st.fixed_dictionaries({"miou": st.floats(0.01, 1.0), "macs": st.floats(1.0, 1e12)}), min_size=1)


def test_the_share_of_a_front_by_hand():
    every = [{"miou": 0.2, "macs": 1e6}, {"miou": 0.4, "macs": 1e8}, {"miou": 0.1, "macs": 1e9}]
    yardstick = Yardstick(every, OBJECTIVES)
    # Three decades to the costliest: 0.2 over the first two, 0.4 over the last.
    whole = 0.2 * 2 + 0.4 * 1
    assert yardstick.share(every) == pytest.approx(1.0)
    assert yardstick.share(every[:1]) == pytest.approx(0.2 * 3 / whole)
    assert yardstick.share(every[1:2]) == pytest.approx(0.4 * 1 / whole)
    assert yardstick.share([]) == 0.0
    assert yardstick.path(every) == pytest.approx([0.2 * 3 / whole, 1.0, 1.0])


@given(ROWS, st.floats(1e-3, 1e6))
def test_a_path_rises_to_the_whole_in_any_unit(rows, unit):
    path = Yardstick(rows, OBJECTIVES).path(rows)
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(path))
    assert path[-1] == pytest.approx(1.0)
    scaled = [{"miou": row["miou"], "macs": row["macs"] * unit} for row in rows]
    # A volume that is all rounding error has no shares to speak of.
    if max(row["macs"] for row in rows) > 1.001 * min(row["macs"] for row in rows):
        assert Yardstick(scaled, OBJECTIVES).path(scaled) == pytest.approx(path, abs=1e-6)


def test_a_yardstick_needs_results():
    with pytest.raises(QueryError, match="results with miou, macs"):
        Yardstick([{"miou": None, "macs": 1}], OBJECTIVES)


def test_when_a_share_was_reached():
    assert reached([0.2, 0.6, 0.9], [8, 16, 24], 0.6) == 16
    assert reached([0.2, 0.6, 0.9], [8, 16, 24], 0.95) is None
    assert at([0.2, 0.6, 0.9], [8, 16, 24], 20) == 0.6
    assert at([0.2], [8], 4) == 0.0
