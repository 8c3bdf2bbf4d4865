"""Studies whose networks start from a file: what of it is remembered, and what ends a sweep before it begins."""

import json
import sqlite3

import pytest
import timm
import torch

from blocks.errors import DataError, SpaceError
from nas import Space, sweep
from nas.report.exports.space_file import space_file
from nas.store import Store
from nas.study import ablate, train
from nas.study.recorded import protocol_of

TEXT = """
name: small
data: {shapes: {size: [32, 32], train: 8, val: 4}}
architecture:
  backbone: {timm: {model: test_resnet}}
  context: {choice: [none, psa]}
  align: {bilinear: {channels: 16}}
training: {epochs: 1, batch: 8, weights: "WEIGHTS"}
search: {sampler: grid, trials: 2, early_stopping: none}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.pth"
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    return path


@pytest.fixture
def run(tmp_path):
    def run(weights, *sets, **more):
        space = Space.loads(TEXT.replace("WEIGHTS", str(weights)), sets=sets)
        options = {"runner": "local", "store": str(tmp_path / "nas.db"), "folder": tmp_path / "runs"} | more
        return sweep(space, **options)

    return run


def protocols(tmp_path):
    rows = sqlite3.connect(tmp_path / "nas.db").execute("SELECT protocol FROM trial").fetchall()
    return [protocol_of(row[0]) for row in rows]


def test_contents_are_in_the_protocol_and_the_path_is_not(run, file, tmp_path, monkeypatch):
    monkeypatch.setenv("FOLDER", str(tmp_path))
    assert run("${FOLDER}/weights.pth").counts() == {"finished": 2}
    for protocol in protocols(tmp_path):
        assert len(protocol.weights) == 16
        assert "weights.pth" not in protocol.canonical()
    # The same contents elsewhere are the same training.
    copy = tmp_path / "copy.pth"
    copy.write_bytes(file.read_bytes())
    assert run(copy, study="again").counts() == {"replayed": 2}


def test_a_study_goes_on_with_equal_contents_alone(run, file, tmp_path):
    run(file, "search.trials=1")
    moved = file.rename(tmp_path / "moved.pth")
    assert run(moved, resume=True).counts() == {"finished": 2}
    torch.save(timm.create_model("test_resnet").state_dict(), moved)
    with pytest.raises(SpaceError, match="something in common with what was recorded"):
        run(moved, resume=True)
    with pytest.raises(SpaceError, match="something in common with what was recorded"):
        run("", "training.weights=null", resume=True)


@pytest.mark.parametrize("begin", [sweep, ablate, train])
def test_a_missing_file_ends_it_before_anything_is_recorded(begin, tmp_path):
    text = TEXT.replace("WEIGHTS", str(tmp_path / "nowhere.pth"))
    if begin is ablate:
        text += "ablation: {design: one_at_a_time}\n"
    space = Space.loads(text, sets=["architecture.context=none"] if begin is train else [])
    with pytest.raises(DataError, match=r"training\.weights needs a file that can be read.*nowhere\.pth"):
        begin(space, runner="local", store=str(tmp_path / "nas.db"), folder=tmp_path)
    assert not (tmp_path / "nas.db").exists()


def test_a_variable_that_is_not_set_is_named(run, monkeypatch):
    monkeypatch.delenv("NO_SUCH_PLACE", raising=False)
    with pytest.raises(SpaceError, match=r"training\.weights needs an environment variable.*NO_SUCH_PLACE"):
        run("${NO_SUCH_PLACE}/weights.pth")


def test_a_file_that_fits_some_backbones_is_refused_for_all(run, file):
    with pytest.raises(SpaceError, match=r"fits every backbone.*without='1 of 2'.*test_efficientnet"):
        run(file, "architecture.backbone.timm.model={choice: [test_resnet, test_efficientnet]}")


@pytest.mark.parametrize("value", ["7", "true", "[a, b]", "{choice: [a, b]}"])
def test_what_is_no_path_is_a_mistake_of_the_file(value):
    with pytest.raises(SpaceError, match=r"training\.weights needs one path"):
        Space.loads(TEXT.replace('"WEIGHTS"', value))


def test_a_trial_as_a_space_file_names_the_weights(run, file, tmp_path):
    run(file)
    with Store.open(str(tmp_path / "nas.db")) as store:
        study = store.find_study("small")
        text = space_file(study, store.find_trial(study["id"], 0))
    assert Space.loads(text).weights == str(file)


# The verb


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(TEXT.replace("WEIGHTS", "${NOWHERE}"))
    return str(path)


def test_weights_lists_what_is_loaded_and_what_is_not(said, written, file):
    code, out, err = said("weights", written, str(file))
    assert (code, err) == (0, "")
    assert "1 of 1 backbones take weights.pth" in out
    assert "Unexpected in the file: fc.weight, fc.bias" in out
    assert "Missing in the file: stages." in out


def test_weights_as_json_names_every_tensor(said, written, file):
    code, out, _ = said("weights", written, str(file), "--format", "json")
    (row,) = json.loads(out)
    assert code == 0
    assert len(row["loaded"]) == 90
    assert row["unexpected"] == ["fc.weight", "fc.bias"]


def test_weights_says_which_backbones_do_not_fit(said, written, file):
    several = "architecture.backbone.timm.model={choice: [test_resnet, test_efficientnet]}"
    code, out, err = said("weights", written, str(file), "--set", several)
    assert code == 0
    assert "1 of 2 backbones" in out
    assert "Does not fit: The file weights.pth needs weights of this backbone" in err


@pytest.mark.parametrize("what", ["unfit", "missing", "unsaid"])
def test_weights_that_nothing_takes_are_an_error(said, written, tmp_path, what):
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    files = {"unfit": [str(tmp_path / "other.pth")], "missing": [str(tmp_path / "none.pth")], "unsaid": []}
    sets = ["--set", "training.weights=null"] if what == "unsaid" else []
    code, out, err = said("weights", written, *files[what], *sets)
    assert (code, out) == (2, "")
    assert err.startswith("nas: ")
    assert err.count("\n") == 1


def test_a_sweep_from_a_file_that_is_missing_is_refused(said, written, tmp_path, monkeypatch):
    monkeypatch.setenv("NOWHERE", str(tmp_path / "none.pth"))
    code, _, err = said("sweep", written, "--runner", "local", "--store", str(tmp_path / "nas.db"))
    assert code == 2
    assert "none.pth" in err
    assert not (tmp_path / "nas.db").exists()
