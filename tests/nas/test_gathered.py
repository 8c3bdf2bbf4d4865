from collections.abc import Callable
from typing import Any

from nas.store import Store, gathered
from runners.protocol import Failed

Make = Callable[..., Any]


def test_a_sample_holds_each_so_many_and_those_named(filled: Store, filled_id: int) -> None:
    ids = {row["number"]: row["id"] for row in filled.trials(filled_id)}

    with filled.gathered() as many:
        whole = many.sampled(filled_id)
        some = many.sampled(filled_id, share=0.4, ids=[ids[3], ids[1]])

    assert [row["number"] for row in whole] == [0, 1, 2, 3, 4, 5]
    assert [row["number"] for row in some] == [0, 1, 2, 3, 5]
    assert some[1]["answers"]["context.ppm.bins"] == (1, 2, 3, 6)
    assert some[1]["class_iou"] == [0.4, None, 0.5]


def test_curves_options_and_last_words_come_by_trial(store: Store, study_id: int, add: Make, monkeypatch: Any) -> None:
    monkeypatch.setattr(gathered, "_PART", 2)
    ids = [add(store, study_id, seed=seed, mious=(0.1, 0.2 + seed / 10)) for seed in range(5)]
    failed = add(store, study_id, context="ppm", mious=(), outcome=Failed("boom", "Traceback", "the end"))

    with store.gathered() as many:
        curves = many.curves([*ids, failed])
        chosen = many.chosen([*ids, failed])
        words = many.last_words([failed])

    assert list(curves) == ids
    assert [(row["epoch"], row["miou"]) for row in curves[ids[3]]] == [(1, 0.1), (2, 0.5)]
    assert chosen[failed]["context.ppm.bins"] == "[1,2,3,6]"
    assert chosen[ids[0]] == store.choices(ids[0])
    assert (words[failed]["traceback"], words[failed]["log"]) == ("Traceback", "the end")


def test_nothing_is_asked_of_no_trials(store: Store) -> None:
    with store.gathered() as many:
        assert (many.curves([]), many.chosen([]), many.last_words([])) == ({}, {}, {})
