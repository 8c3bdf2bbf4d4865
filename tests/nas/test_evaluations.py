"""Later evaluations, and a study as one table, in the store."""

import pytest
from sqlalchemy import text

from blocks.errors import QueryError
from nas.store import Store

FACTS = {
    "split": "test",
    "samples": 233,
    "settings": {"sliding": True, "scales": [0.5, 1.0]},
    "miou": 0.5,
    "pixel_accuracy": 0.75,
    "class_iou": [0.5, None],
    "seconds": 2.0,
}


def test_evaluations_come_back_oldest_first_and_belong_to_their_trial(filled: Store) -> None:
    filled.record_evaluation(1, FACTS)
    filled.record_evaluation(1, FACTS | {"miou": 0.6})
    filled.record_evaluation(2, FACTS | {"split": "val"})

    first, second = filled.evaluations(1)
    assert {name: first[name] for name in FACTS} == FACTS
    assert second["miou"] == 0.6
    assert first["created"].tzinfo is not None
    assert [one["split"] for one in filled.evaluations(2)] == ["val"]
    assert filled.evaluations(3) == []


def test_the_searchs_own_figures_stay_what_they_were(filled: Store, filled_id: int) -> None:
    before = filled.trials(filled_id)
    filled.record_evaluation(1, FACTS)
    assert filled.trials(filled_id) == before


def test_evaluations_go_with_their_trial(filled: Store) -> None:
    filled.record_evaluation(1, FACTS)
    with filled._engine.begin() as connection:
        connection.execute(text("DELETE FROM trial WHERE id = 1"))
    assert filled.evaluations(1) == []


def test_a_trial_is_found_by_number_and_named_by_its_id(filled: Store, filled_id: int) -> None:
    row = filled.find_trial(filled_id, 3)
    assert (row["number"], row["context"]) == (3, "psa")
    assert filled.trained_as(row["id"]) == ("camvid", 3)
    assert filled.trained_as(10_000) is None
    with pytest.raises(QueryError, match=r"The study camvid needs a trial of that number: .* It has 6, up to 5"):
        filled.find_trial(filled_id, 6)
    empty = filled.create_study("empty", space="", objectives={"miou": "max"}, budget={}, seed=0)
    with pytest.raises(QueryError, match="It has none yet"):
        filled.find_trial(empty, 0)


def test_a_study_as_a_table_has_the_same_keys_in_each_row(filled: Store, filled_id: int) -> None:
    rows = filled.with_choices(filled_id)
    assert len(rows) == 6
    assert len({tuple(row) for row in rows}) == 1
    assert [row["context.ppm.channels"] for row in rows] == [None, 512, 256, None, None, None]
    assert rows[1]["context.ppm.bins"] == "[1,2,3,6]"
    assert rows[2]["training.learning_rate"] == 0.01
    assert [row["context"] for row in rows] == [row["context"] for row in filled.trials(filled_id)]
    other = filled.create_study("empty", space="", objectives={"miou": "max"}, budget={}, seed=0)
    assert filled.with_choices(other) == []
