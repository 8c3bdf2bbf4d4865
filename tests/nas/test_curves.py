"""Importing learning curves of other code: what is recorded, that it is never taken for ours, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from blocks.catalogue import versions
from blocks.errors import DataError, SpaceError, StoreError
from nas.propose.candidates import protocol_of
from nas.space import Space
from nas.store import Store
from nas.study.columns import read_columns
from nas.study.curves import import_curves
from nas.study.resume import claim
from nas.study.work import info_of
from runners.identity import identity

SPACE = """
name: theirs
data: {shapes: {size: [32, 32]}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  context: {choice: {none: , ppm: {bins: {choice: [[1, 2], [1, 2, 3, 6]]}}}}
training: {epochs: 3, learning_rate: {choice: [0.001, 0.01]}}
"""
COLUMNS = """
net: {question: architecture.backbone.timm.model, values: {R: test_resnet, E: test_efficientnet}}
context: architecture.context
bins: architecture.context.ppm.bins
lr: training.learning_rate
"""
TABLE = Path(os.environ.get("CAMVID_CURVES") or Path(__file__).parents[2] / "../shared/data/camvid_curves.jsonl")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def line(net="R", context="ppm", bins=(1, 2), lr=0.001, **more):
    config = {"net": net, "context": context, "bins": list(bins) if bins else None, "lr": lr}
    facts = {"seed": 0, "macs": 1000, "params": 10, "miou": [0.1, 0.3, 0.2], "epoch_seconds": [2.0, 2.0, 3.0]}
    return {"config": config} | facts | more


@pytest.fixture
def space():
    return Space.loads(SPACE)


@pytest.fixture
def bring(tmp_path, space):
    def bring(*lines, columns=COLUMNS, study="theirs"):
        (tmp_path / "columns.yaml").write_text(columns)
        text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
        (tmp_path / "curves.jsonl").write_text(text)
        file = str(tmp_path / "nas.db")
        count = import_curves(tmp_path / "curves.jsonl", space, tmp_path / "columns.yaml", study=study, store=file)
        return count, Store.open(file, create=False)

    return bring


def test_every_trial_comes_with_its_curve_costs_and_choices(bring):
    count, store = bring(line(), line("E", "none", None, 0.01, macs=500, loss=[3.0, 2.0, 1.0]))
    with store:
        assert count == 2
        study = store.find_study("theirs")
        first, second = store.trials(study["id"])
        assert (first["state"], first["miou"], first["miou_best"], first["epochs"]) == ("finished", 0.2, 0.3, 3)
        assert (first["macs"], first["params"], first["macs_conv"], first["train_seconds"]) == (1000, 10, None, 7.0)
        assert (second["model"], second["context"], second["seed"]) == ("test_efficientnet", "none", 0)
        assert [row["miou"] for row in store.epochs(first["id"])] == [0.1, 0.3, 0.2]
        assert [row["loss"] for row in store.epochs(first["id"])] == [None] * 3
        assert [row["loss"] for row in store.epochs(second["id"])] == [3.0, 2.0, 1.0]
        told = store.told(study["id"])[0]["answers"]
        assert told == {
            "architecture.backbone.timm.model": "test_resnet",
            "architecture.context": "ppm",
            "architecture.context.ppm.bins": (1, 2),
            "training.learning_rate": 0.001,
        }
        chosen = store.choices(first["id"])
        assert chosen["context.ppm.bins"] == "[1,2]"
        assert chosen["imported.net"] == "R"
        # The table says nothing of these: our defaults are not theirs.
        assert not {"context.ppm.channels", "training.batch", "main"} & set(chosen)


def test_an_imported_network_is_never_taken_for_one_of_ours(bring, space):
    _, store = bring(line())
    with store:
        row = store.told(store.find_study("theirs")["id"])[0]
        ours = space.choose(lambda question: row["answers"][question.path])
        protocol = protocol_of(space, ours, info_of(space), "0" * 16)
        key = identity(ours.architecture, protocol, 0, versions(ours.architecture, protocol.losses()))
        assert store.known(key) is None
        assert row["fingerprint"] != ours.architecture.fingerprint
        assert row["protocol_fingerprint"] != protocol.fingerprint
        with pytest.raises(StoreError, match=r"a study of its own.*nas simulate"):
            claim(space, "theirs", store, resume=True, data=info_of(space), fingerprint="0" * 16)


def test_a_seed_makes_a_result_of_its_own(bring):
    count, store = bring(line(), line(seed=1))
    with store:
        assert count == 2
        rows = store.trials(store.find_study("theirs")["id"])
        assert rows[0]["identity"] != rows[1]["identity"]
        assert rows[0]["fingerprint"] == rows[1]["fingerprint"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"config": ', "line 2: A line needs one JSON object"),
        ("[1]", "line 2: A line needs an object with `config`"),
        (line(lr=0.5), r"line 2: training.learning_rate needs one of 0.001, 0.01: got value=0.5"),
        (line(net="X"), "line 2: architecture.backbone.timm.model needs .*values:"),
        (line(macs=0), "line 2: macs needs a whole number above 0: got macs=0"),
        (line(params=None), "line 2: params needs"),
        (line(seed=-1), "line 2: seed needs"),
        (line(miou=[0.1, 0.2]), "line 2: epoch_seconds needs a list of 2 numbers"),
        (line(miou=[0.1] * 4, epoch_seconds=[1.0] * 4), r"line 2: miou needs as many values as .* \(3\)"),
        (line(miou=[0.1, 0.2, 1.5]), "line 2: miou needs a list of 3 numbers from 0 to 1.*epoch=3"),
        (line(miou=[0.1, 0.2, float("nan")]), "line 2: miou needs"),
        (line(mIoU=[1]), "line 2: A line needs keys that are known: got key='mIoU'. Did you mean 'miou'"),
        (line(config={"net": "R"}), "line 2: config needs the columns of the mapping"),
        (line(), "line 2: it has the config and the seed of line 1"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_imported(bring, tmp_path, bad, message):
    with pytest.raises(DataError, match=message):
        bring(line(), bad)
    assert not (tmp_path / "nas.db").exists()


def test_all_bad_lines_are_named_at_once(bring):
    with pytest.raises(DataError) as caught:
        bring(line(lr=0.5), line(), line(macs=-1))
    assert str(caught.value).startswith("line 1: ")
    assert "\nline 3: " in str(caught.value)


def test_a_name_that_is_taken_is_refused_and_the_study_stays(bring):
    bring(line())[1].close()
    with pytest.raises(StoreError, match="a name of its own"):
        bring(line("E"))
    _, store = bring(line("E"), study="more")
    with store:
        assert [row["trials"] for row in store.studies()] == [1, 1]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (COLUMNS.replace("architecture.context\n", "architecture.contexts\n"), "Did you mean 'architecture.context'"),
        (COLUMNS.replace("lr: training.learning_rate\n", ""), "a column for each question.*training.learning_rate"),
        ("lr: {path: training.learning_rate}\n", "Column lr needs a question"),
        ("- lr\n", "column: question"),
        ("lr: [", "well-formed YAML"),
    ],
)
def test_a_wrong_mapping_is_told_with_its_line(bring, columns, message):
    with pytest.raises(SpaceError, match=message) as caught:
        bring(line(), columns=columns)
    assert "columns.yaml:" in str(caught.value)


def test_a_mapping_that_is_not_there(space, tmp_path):
    with pytest.raises(SpaceError, match="a file that can be read"):
        read_columns(tmp_path / "none.yaml", space)


@pytest.mark.skipif(not TABLE.exists(), reason="the recorded CamVid curves are not here: set CAMVID_CURVES")
def test_the_camvid_table_is_imported_whole(tmp_path):
    space = Space.load(BENCHMARKS / "camvid_curves.yaml")
    file = str(tmp_path / "nas.db")
    assert import_curves(TABLE, space, BENCHMARKS / "camvid_columns.yaml", study="camvid", store=file) == 238
    with Store.open(file) as store:
        rows = store.trials(store.find_study("camvid")["id"])
        assert len({row["identity"] for row in rows}) == 238
        assert max(row["miou"] for row in rows) == 0.40677
