import math
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.architecture import Architecture
from blocks.errors import QueryError, StoreError
from nas.store import Store, choices_of
from nas.store.schema import STATES
from runners.protocol import Failed, Finished, Interrupted, Paused, Rejected, Stopped

Make = Callable[..., Any]


def test_a_trial_that_finished_has_its_last_epoch_as_its_result(store: Store, study_id: int, add: Make) -> None:
    trial_id = add(store, study_id, context="ppm", mious=(0.1, 0.4, 0.3))

    (row,) = store.trials(study_id)

    assert row["id"] == trial_id
    assert (row["study"], row["number"], row["state"]) == ("camvid", 0, "finished")
    assert (row["miou"], row["miou_best"], row["epochs"], row["epochs_planned"]) == (0.3, 0.4, 3, 3)
    assert (row["train_memory_bytes"], row["train_seconds"]) == (3000, 6.0)
    assert (row["backbone"], row["model"], row["context"], row["head"]) == ("timm", "resnet18", "ppm", "linear")
    assert (row["macs"], row["macs_conv"], row["activation_bytes"]) == (1_000_000_000, 999_999_999, 4096)
    assert (row["host"], row["device"]) == ("node1", "cpu")
    assert row["created"] <= row["started"] <= row["ended"] <= datetime.now(UTC)
    assert row["ended"] > datetime.now(UTC) - timedelta(minutes=5)


def test_all_of_a_trial_can_be_read_back(
    store: Store, study_id: int, add: Make, architecture_of: Make, protocol_of: Make
) -> None:
    add(store, study_id, context="ppm")

    row = store.trial(study_id, 0)

    assert row is not None
    assert Architecture.from_canonical(row["architecture"]) == architecture_of("ppm")
    assert row["protocol"] == protocol_of().canonical()
    assert row["answers"] == {"context": "ppm", "context.ppm.bins": (1, 2, 3, 6), "training.learning_rate": 1e-3}
    assert row["class_iou"] == [0.3, None, 0.5]
    assert row["log"] == "epoch 1\nepoch 2\nepoch 3\n"
    assert store.trial(study_id, 1) is None


def test_each_epoch_is_kept(store: Store, study_id: int, add: Make) -> None:
    trial_id = add(store, study_id, mious=(0.1, 0.2))

    curve = store.epochs(trial_id)

    assert [row["miou"] for row in curve] == [0.1, 0.2]
    assert curve[1] == {
        "epoch": 2,
        "loss": 0.5,
        "miou": 0.2,
        "pixel_accuracy": 0.9,
        "learning_rate": 1e-3,
        "seconds": 2.0,
        "train_memory_bytes": 2000,
        "class_iou": [0.2, None, 0.5],
    }


def test_an_epoch_that_comes_again_replaces_itself_and_what_followed(
    store: Store, study_id: int, add: Make, epoch_of: Make
) -> None:
    trial_id = add(store, study_id, mious=(0.1, 0.9, 0.3), outcome=None)

    store.epoch(trial_id, epoch_of(2, 0.15))
    store.epoch(trial_id, epoch_of(2, 0.15))

    assert [(row["epoch"], row["miou"]) for row in store.epochs(trial_id)] == [(1, 0.1), (2, 0.15)]
    (row,) = store.trials(study_id)
    assert (row["miou"], row["miou_best"], row["epochs"], row["train_seconds"]) == (0.15, 0.15, 2, 4.0)


def test_figures_that_are_no_numbers_are_missing(store: Store, study_id: int, add: Make, epoch_of: Make) -> None:
    trial_id = add(store, study_id, mious=(), outcome=None)

    store.epoch(trial_id, epoch_of(1, math.nan))

    (row,) = store.trials(study_id)
    assert row["miou"] is None
    assert row["miou_best"] is None
    assert store.epochs(trial_id)[0]["class_iou"] == [None, None, 0.5]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Finished(), {"state": "finished"}),
        (Stopped(rung=3, missing=0.5), {"state": "stopped", "rung": 3, "missing": 0.5}),
        (Failed("diverged at step 7", "Traceback ...", "boom"), {"state": "failed", "error": "diverged at step 7"}),
        (
            Rejected("macs", 2e10, 1e10),
            {"state": "rejected", "exceeded": "macs", "exceeded_value": 2e10, "exceeded_limit": 1e10},
        ),
        (Interrupted(), {"state": "interrupted"}),
    ],
)
def test_every_outcome_is_recorded_and_keeps_the_epochs(
    store: Store, study_id: int, add: Make, outcome: object, expected: dict[str, object]
) -> None:
    add(store, study_id, mious=(0.1,), outcome=outcome)

    row = store.trial(study_id, 0)

    assert row is not None
    assert {name: row[name] for name in expected} == expected
    assert (row["epochs"], row["miou"]) == (1, 0.1)
    assert row["ended"] is not None
    if isinstance(outcome, Failed):
        assert (row["traceback"], row["log"]) == ("Traceback ...", "epoch 1\nboom")


def test_a_trial_ends_once(store: Store, study_id: int, add: Make, epoch_of: Make) -> None:
    trial_id = add(store, study_id)

    for change in (
        lambda: store.end(trial_id, Interrupted()),
        lambda: store.epoch(trial_id, epoch_of(4, 0.9)),
        lambda: store.requeue(trial_id),
        lambda: store.start(trial_id, "node2", "cpu"),
    ):
        with pytest.raises(StoreError, match=r"not ended.*state='finished'"):
            change()

    (row,) = store.trials(study_id)
    assert (row["state"], row["epochs"], row["miou"], len(store.epochs(trial_id))) == ("finished", 3, 0.3, 3)


def test_a_known_result_is_found_from_any_study_and_replayed(store: Store, study_id: int, add: Make) -> None:
    first = add(store, study_id, context="ppm", mious=(0.1, 0.2, 0.3))
    other = store.create_study("again", space="", objectives={"miou": "max"}, budget={}, seed=1)
    second = add(store, other, context="ppm", mious=(), outcome=None, started=False)
    third = add(store, other, context="ppm", mious=(), outcome=None, started=False)
    identity = store.trials(other)[0]["identity"]

    known = store.known(identity)
    assert known is not None
    assert (known["id"], known["study"], known["miou"], known["macs"]) == (first, "camvid", 0.3, 1_000_000_000)
    store.replay(second, known["id"])
    store.replay(third, second)

    for row in store.trials(other):
        assert (row["state"], row["miou"], row["epochs"], row["replay_of"]) == ("replayed", 0.3, 3, first)
        assert row["train_seconds"] == 0.0
    assert store.known("0" * 16) is None


def test_a_result_at_a_smaller_batch_is_flagged_and_replayed_only_where_that_is_wanted(
    store: Store, study_id: int, add: Make, epoch_of: Make
) -> None:
    small = add(store, study_id, mious=(), outcome=None)
    store.epoch(small, replace(epoch_of(1, 0.2), accumulation=2))
    store.end(small, Finished())
    identity = store.trials(study_id)[0]["identity"]
    other = store.create_study("again", space="", objectives={"miou": "max"}, budget={}, seed=1)

    assert store.known(identity, degraded=False) is None
    known = store.known(identity)
    assert known is not None
    store.replay(add(store, other, mious=(), outcome=None, started=False), known["id"])
    assert store.trials(other)[0]["accumulation"] == 2, "a copy lost the flag"

    whole = add(store, study_id)
    for found in (store.known(identity), store.known(identity, degraded=False)):
        assert found is not None
        assert found["id"] == whole, "the one at the full batch comes first"


def test_results_that_are_not_final_are_not_known(store: Store, study_id: int, add: Make) -> None:
    stopped = add(store, study_id, outcome=Stopped(1, 0.5))
    waiting = add(store, study_id, mious=(), outcome=None)

    assert store.known(store.trials(study_id)[0]["identity"]) is None
    with pytest.raises(StoreError, match="final result"):
        store.replay(waiting, stopped)


def test_after_a_killed_driver_orphans_are_interrupted_and_can_go_on(
    store: Store, study_id: int, add: Make, epoch_of: Make
) -> None:
    running = add(store, study_id, mious=(0.1,), outcome=None)
    proposed = add(store, study_id, mious=(), outcome=None, started=False)
    add(store, study_id)

    assert store.mark_orphans(study_id) == 2
    assert [row["state"] for row in store.trials(study_id)] == ["interrupted", "interrupted", "finished"]
    rows = store.unfinished(study_id)
    assert [row["id"] for row in rows] == [running, proposed]
    assert rows[0]["answers"]["context.ppm.bins"] == (1, 2, 3, 6)
    store.requeue(running)
    store.start(running, "node2", "cuda:0")
    store.epoch(running, epoch_of(2, 0.2))
    store.end(running, Finished())

    row = store.trials(study_id)[0]
    assert (row["state"], row["epochs"], row["host"]) == ("finished", 2, "node2")
    assert [row["id"] for row in store.unfinished(study_id)] == [proposed]


def test_a_paused_trial_waits_through_a_restart_and_goes_on_or_ends(
    store: Store, study_id: int, add: Make, epoch_of: Make
) -> None:
    promoted, given_up = (add(store, study_id, mious=(0.1,), outcome=Paused(rung=1, missing=0.5)) for _ in range(2))
    assert store.mark_orphans(study_id) == 0
    rows = store.told(study_id)
    assert [(row["state"], row["rung"], row["missing"], row["ended"]) for row in rows] == [("paused", 1, 0.5, None)] * 2

    store.requeue(promoted)
    assert store.trials(study_id)[0]["missing"] is None
    store.start(promoted, "node1", "cpu")
    store.epoch(promoted, epoch_of(2, 0.2))
    store.end(promoted, Finished())
    store.end(given_up, Stopped(rung=1, missing=0.5))

    first, second = store.trials(study_id)
    assert (first["state"], first["rung"], first["missing"], first["epochs"]) == ("finished", None, None, 2)
    assert (second["state"], second["rung"], second["missing"], second["epochs"]) == ("stopped", 1, 0.5, 1)
    with pytest.raises(StoreError, match="has not ended"):
        store.end(given_up, Finished())


def test_the_sampler_is_told_what_ended_for_good(store: Store, study_id: int, add: Make) -> None:
    for outcome in (Finished(), Stopped(1, 0.5), Rejected("macs", 2.0, 1.0), Failed("x"), Interrupted(), None):
        add(store, study_id, outcome=outcome)
    store.skip(6, "hopeless")

    told = store.told(study_id)

    assert [row["state"] for row in told] == ["finished", "stopped", "rejected", "failed", "skipped"]
    assert all(row["answers"]["training.learning_rate"] == 1e-3 for row in told)
    assert store.trials(study_id, states=["skipped"])[0]["error"] == "hopeless"


def test_studies_are_counted_by_state(store: Store, study_id: int, add: Make) -> None:
    add(store, study_id, mious=(0.3,))
    add(store, study_id, mious=(0.9,), outcome=Stopped(1, 0.5))
    store.create_study("empty", space="", objectives={"miou": "max"}, budget={}, seed=7)

    full, empty = store.studies()

    assert (full["name"], full["trials"], full["finished"], full["stopped"], full["miou"]) == ("camvid", 2, 1, 1, 0.3)
    assert (empty["name"], empty["trials"], empty["miou"], empty["seed"]) == ("empty", 0, None, 7)
    assert set(STATES) < set(full)


def test_a_study_is_found_by_name(store: Store, study_id: int) -> None:
    found = store.find_study("camvid")

    assert found == store.study("camvid")
    assert (found["id"], found["objectives"], found["budget"]) == (
        study_id,
        {"miou": "max", "macs": "min"},
        {"macs": 1e10},
    )
    assert store.study("camvdi") is None
    with pytest.raises(QueryError, match="Did you mean 'camvid'"):
        store.find_study("camvdi")
    with pytest.raises(StoreError, match="--resume"):
        store.create_study("camvid", space="", objectives={}, budget={}, seed=0)


def test_a_number_is_used_once_in_a_study(
    store: Store, study_id: int, add: Make, architecture_of: Make, protocol_of: Make
) -> None:
    add(store, study_id)
    with pytest.raises(StoreError, match="another `nas sweep`"):
        store.propose(
            study_id,
            0,
            identity="i",
            architecture=architecture_of("none"),
            protocol=protocol_of(),
            seed=0,
            cost=None,
            answers={},
            choices={},
            epochs=1,
        )
    assert store.next_number(study_id) == 1


def test_a_trial_without_a_cost_is_listed(
    store: Store, study_id: int, architecture_of: Make, protocol_of: Make
) -> None:
    store.propose(
        study_id,
        0,
        identity="i",
        architecture=architecture_of("none"),
        protocol=protocol_of(),
        seed=0,
        cost=None,
        answers={},
        choices={},
        epochs=1,
    )
    (row,) = store.trials(study_id)
    assert (row["macs"], row["context"]) == (None, "none")


def test_plain_sql_groups_by_component(filled: Store) -> None:
    query = (
        "SELECT value, avg(miou) FROM trial JOIN choice ON choice.trial_id = trial.id "
        "WHERE path = 'context' AND state = 'finished' GROUP BY value ORDER BY value"
    )
    with sqlite3.connect(filled.url.removeprefix("sqlite:///")) as plain:
        assert plain.execute(query).fetchall() == [("none", 0.2), ("ppm", 0.375), ("psa", 0.5)]


def test_choices_are_spelled_out_option_by_option(
    store: Store, study_id: int, add: Make, architecture_of: Make, protocol_of: Make
) -> None:
    assert choices_of(architecture_of("ppm"), protocol_of()) == {
        "backbone": "timm",
        "backbone.timm.model": "resnet18",
        "context": "ppm",
        "context.ppm.bins": (1, 2, 3, 6),
        "context.ppm.channels": 512,
        "align": "last",
        "refine": "none",
        "head": "linear",
        "align_corners": False,
        "data": "shapes",
        "data.shapes.size": (120, 160),
        "training.epochs": 3,
        "training.learning_rate": 1e-3,
        "training.scale": (0.5, 2.0),
        "main": "cross_entropy+dice",
        "main.cross_entropy.weight": 1.0,
        "coarse": "",
        "auxiliary": "",
    }
    kept = store.choices(add(store, study_id, context="ppm"))
    assert (kept["context.ppm.bins"], kept["training.scale"], kept["align_corners"]) == (
        "[1,2,3,6]",
        "[0.5,2]",
        "false",
    )


def test_one_architecture_is_stored_once_with_one_cost_per_size(store: Store, study_id: int, add: Make) -> None:
    for seed in range(3):
        add(store, study_id, context="ppm", seed=seed)
    add(store, study_id, context="ppm", macs=7)  # a later version of a component costs something else

    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as plain:
        assert plain.execute("SELECT count(*) FROM architecture").fetchone() == (1,)
        assert plain.execute("SELECT count(*) FROM cost").fetchone() == (2,)
    assert [row["macs"] for row in store.trials(study_id)] == [1_000_000_000] * 3 + [7]


def test_provenance_is_noted_at_each_start(store: Store, study_id: int) -> None:
    facts = {"revision": "abc", "dirty": True, "command": "nas sweep x", "versions": {"torch": "2.15"}, "gpus": []}
    store.record_provenance(study_id, facts)
    store.record_provenance(study_id, {})

    first, second = store.provenance(study_id)
    assert (first["revision"], first["dirty"], first["data_fingerprint"]) == ("abc", True, None)
    assert first["facts"] == {"versions": {"torch": "2.15"}, "gpus": []}
    assert second["facts"] == {}


def test_only_the_columns_asked_for_are_read(filled: Store, filled_id: int) -> None:
    rows = filled.trials(filled_id, columns=["number", "flops"], states=["finished"])
    assert rows[0] == {"number": 0, "macs": 1_000_000_000}
    with pytest.raises(QueryError, match="Did you mean 'miou'"):
        filled.trials(filled_id, columns=["mious"])
    with pytest.raises(QueryError, match="Did you mean 'finished'"):
        filled.trials(filled_id, states=["finish"])
