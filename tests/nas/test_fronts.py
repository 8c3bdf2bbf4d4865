import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.store import STUDY, make
from blocks.errors import QueryError
from nas.analysis import fronts
from nas.analysis.compared import Question, ask, best_under, distances, others
from nas.analysis.skyline import schedules, skyline
from nas.store import Store
from nas.study import Study
from runners.protocol import Failed, Stopped

OBJECTIVES = {"miou": "max", "macs": "min"}
Add = Callable[..., int]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("many") / "nas.db"
    make(file, 3000)
    return file


@pytest.mark.parametrize(
    "where", [None, "context == 'ppm'", "training.learning_rate < 1e-3 and params < 1e8", "macs < 1"]
)
@pytest.mark.parametrize(
    "objectives", [OBJECTIVES, {"miou": "max", "macs": "min", "params": "min"}, {"iou.3": "max", "latency_ms": "min"}]
)
def test_a_sample_first_finds_the_same_front(many: Path, where: str | None, objectives: dict[str, str]) -> None:
    with Store.open(str(many)) as store:
        study = store.find_study(STUDY)["id"]
        read = partial(store.points, {study: 40}, objectives, where=where)
        whole, sampled = skyline(read, 3000, objectives), skyline(read, 200_000, objectives)
        rows = store.rows([row["id"] for row in store.trials(study, where)], (*objectives, "state"))
    assert whole.whole
    assert not sampled.whole
    assert len(sampled.cloud) < len(whole.cloud) or not len(whole.cloud)
    expected = [row["id"] for row in fronts.front(rows, objectives)]
    assert sorted(whole.ids) == sorted(sampled.ids) == sorted(expected)
    assert list(whole.front[:, 1]) == sorted(whole.front[:, 1])


def test_only_a_few_of_many_are_read(many: Path) -> None:
    with Store.open(str(many)) as store:
        study = store.find_study(STUDY)["id"]
        front = skyline(partial(store.points, {study: 40}, OBJECTIVES), 3000, OBJECTIVES).front
        beyond = store.points({study: 40}, OBJECTIVES, beyond=front)
        none_fit = store.points({study: 40}, OBJECTIVES, beyond=np.array([[1.0, 1.0]]))
    assert sorted(map(tuple, beyond.values)) == sorted(map(tuple, front))
    assert len(none_fit.ids) == 0


def test_equals_stay_and_replays_count_once(store: Store, study_id: int, add: Add) -> None:
    add(store, study_id, context="none", mious=(0.1, 0.2, 0.5))
    trained = add(store, study_id, context="ppm", mious=(0.1, 0.2, 0.5))
    replay = add(store, study_id, context="ppm", mious=(), outcome=None)
    store.replay(replay, trained)
    for total in (3, 10**7):
        found = skyline(partial(store.points, {study_id: 0}, OBJECTIVES), total, OBJECTIVES)
        assert sorted(found.ids) == [trained - 1, trained]


def ask_for(study: int, **facts: object) -> Question:
    return Question(**{"studies": (study,), "objectives": OBJECTIVES} | facts)  # type: ignore[arg-type]


def test_what_is_not_final_is_left_out_unless_asked_for(store: Store, study_id: int, add: Add) -> None:
    add(store, study_id, context="none", macs=5_000_000_000)
    add(store, study_id, context="ppm", macs=4_000_000_000)
    add(store, study_id, context="psa", mious=(0.9,), outcome=Stopped(rung=1, missing=0.5))
    add(store, study_id, context="aspp", mious=(0.8, 0.9), outcome=None)
    add(store, study_id, context="ocr", mious=(0.95,))  # finished, on a shorter schedule
    add(store, study_id, context="danet", mious=(0.99,), outcome=Failed("diverged", "", ""))

    answer = ask(store, ask_for(study_id), ("number",))
    assert [row["number"] for row in answer.front] == [1]
    assert answer.left_out == {"running": 1, "stopped": 1, "shorter": 1}
    assert answer.schedules == {study_id: 3}

    answer = ask(store, ask_for(study_id, early=True), ("number",))
    assert [row["number"] for row in answer.front] == [4]
    assert (answer.compared, answer.left_out) == (5, {})


def test_the_usual_schedule_is_that_of_most_and_of_two_the_longer() -> None:
    counts = [(1, "finished", 10, 5), (1, "replayed", 20, 3), (1, "finished", 20, 2), (1, "stopped", 40, 99)]
    assert schedules([*counts, (2, "failed", 3, 1)]) == {1: 20}
    assert schedules([]) == {}


def test_several_studies_share_a_front(store: Store, study_id: int, add: Add) -> None:
    other = store.create_study("other", space="", objectives=OBJECTIVES, budget={}, seed=0)
    add(store, study_id, context="none", macs=1_000_000_000, mious=(0.1, 0.2, 0.3))
    add(store, study_id, context="ppm", macs=3_000_000_000, mious=(0.1, 0.2, 0.4))
    add(store, other, context="psa", macs=2_000_000_000, mious=(0.1, 0.5))
    answer = ask(store, ask_for(study_id, studies=(study_id, other)), ("number", "study"))
    # The other study's schedule is its own.
    assert [(row["study"], row["number"]) for row in answer.front] == [("camvid", 0), ("other", 0)]


def test_seeds_become_one_point_with_their_spread(store: Store, study_id: int, add: Add) -> None:
    for seed, miou in enumerate((0.3, 0.4, 0.8)):
        add(store, study_id, context="ppm", seed=seed, mious=(0.1, 0.1, miou))
    add(store, study_id, context="none", mious=(0.1, 0.1, 0.6), macs=2_000_000_000)
    add(store, study_id, context="psa", mious=(0.1, 0.1, 0.2), macs=2_000_000_000)
    answer = ask(store, ask_for(study_id, seeds="mean"), ("number",))
    first, second = answer.front
    assert (first["n"], first["numbers"], first["seeds"], first["macs"]) == (3, "0 1 2", "0 1 2", 1_000_000_000)
    assert first["miou"] == pytest.approx(0.5)
    assert first["miou_sd"] == pytest.approx(np.std([0.3, 0.4, 0.8], ddof=1))
    assert (first["macs_sd"], second["n"], second["miou_sd"]) == (0, 1, None)
    assert answer.compared == 3
    rest = others(store, ask_for(study_id, seeds="mean"), answer, ("number",), 0)
    assert [row["numbers"] for row in rest] == ["4"]
    assert rest[0]["miou_missing"] == pytest.approx(0.4)


def test_the_others_are_told_how_far_they_are(store: Store, study_id: int, add: Add) -> None:
    for context, macs, miou in (("none", 10, 0.2), ("ppm", 30, 0.6), ("psa", 20, 0.1), ("aspp", 30, 0.5)):
        add(store, study_id, context=context, macs=macs * 1000, mious=(0, 0, miou))
    question = ask_for(study_id)
    answer = ask(store, question, ("number",))
    rest = others(store, question, answer, ("number",), 0)
    assert [row["number"] for row in rest] == [3, 2]
    assert [row["miou_missing"] for row in rest] == pytest.approx([0.1, 0.1])
    assert [row["distance"] for row in rest] == pytest.approx([0.2, np.hypot(0.1 / 0.5, 0.5)])
    assert len(others(store, question, answer, ("number",), 1)) == 1


def test_distances_are_those_of_the_definition() -> None:
    draw = random.Random(1)
    values = np.array([[draw.random(), draw.randint(1, 9), draw.randint(1, 9)] for _ in range(200)])
    goals = [True, False, False]
    rows = [{"a": a, "b": b, "c": c, "state": "finished"} for a, b, c in values]
    front = np.array([[r["a"], r["b"], r["c"]] for r in fronts.front(rows, {"a": "max", "b": "min", "c": "min"})])
    missing, distance = distances(values, front, goals)
    spread = values.max(axis=0) - values.min(axis=0)
    for point, lacks, far in zip(values, missing, distance, strict=True):
        best = max(f[0] for f in front if (f[1:] <= point[1:]).all())
        assert lacks == pytest.approx(best - point[0])
        assert far == pytest.approx(min(np.linalg.norm((f - point) / spread) for f in front))
    assert (missing[distance == 0] == 0).all()
    assert len(distances(values[:0], front, goals)[0]) == 0


def test_equal_values_have_no_range_to_divide_by(store: Store, study_id: int, add: Add) -> None:
    for context in ("none", "ppm"):
        add(store, study_id, context=context)
    question = ask_for(study_id)
    answer = ask(store, question, ("number",))
    assert len(answer.front) == 2
    assert others(store, question, answer, ("number",), 0) == []


def test_the_best_under_each_limit(filled: Store, filled_id: int) -> None:
    found = best_under(
        filled, ask_for(filled_id), [{"macs": 2.5e9}, {"macs": 1}, {"macs": 1e12, "params": 3e7}], ("number",)
    )
    assert [row and row["number"] for row in found] == [1, None, 1]
    assert found[0] is not None
    assert found[0]["macs"] == 2_000_000_000


def test_what_has_no_finite_figure_is_not_compared(store: Store, study_id: int, add: Add) -> None:
    add(store, study_id, context="none", mious=(0.1, 0.2, float("nan")))
    add(store, study_id, context="ppm")
    answer = ask(store, ask_for(study_id, objectives={"iou.0": "max", "macs": "min"}), ("number",))
    assert [row["number"] for row in answer.front] == [1]
    assert answer.front[0]["iou.0"] == 0.3
    # The second class is in no image.
    assert ask(store, ask_for(study_id, objectives={"iou.1": "max", "macs": "min"}), ("number",)).front == []


def test_the_python_front_takes_the_same_options(filled: Store) -> None:
    with Study("camvid", filled.url) as study:
        assert list(study.front()["number"]) == [0, 1, 3]
        assert list(study.front(x="params", y="miou_best")["number"]) == [0, 1, 3]
        assert list(study.front(under={"flops": 1e10})["number"]) == [0, 1]
        assert study.front(early=True)["macs"].min() == 500_000_000
        assert study.front(seeds="mean")["n"].tolist() == [1, 1, 1]
        assert study.front(objectives={"iou.2": "max", "params": "min"})["iou.2"].tolist() == [0.5]
        with pytest.raises(QueryError, match="Did you mean 'params'"):
            study.front(x="param")
