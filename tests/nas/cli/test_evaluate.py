"""`nas evaluate`: on networks that were really trained."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from nas.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("trained")]


def rows(said, *words):
    done = said("evaluate", "tiny", *words, "--device", "cpu", "--format", "json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_what_the_search_chose_by_gives_the_figures_of_the_search(said, trained):
    """The averaged weights, as the search judged them; and whoever asks is warned."""
    (row,) = rows(said, "1", "--split", "val")
    with Store.open("nas.db") as store:
        recorded = store.trial(1, 1)
    assert row["miou"] == pytest.approx(recorded["miou"], abs=1e-9)
    assert json.loads(row["class_iou"]) == pytest.approx(recorded["class_iou"])
    assert "flatter" in said("evaluate", "tiny", "1", "--split", "val", "--device", "cpu").err


def test_every_trial_of_the_front_is_judged_and_recorded_apart(said, trained):
    found = rows(said, "--front")
    front = [row["number"] for row in json.loads(said("front", "tiny", "--format", "json").out)]
    assert [row["number"] for row in found] == front
    assert {(row["split"], row["samples"], row["epoch"]) for row in found} == {("test", 8, 3)}
    with Store.open("nas.db") as store:
        for row in found:
            recorded = store.trial(1, row["number"])
            (later,) = store.evaluations(recorded["id"])
            assert later["miou"] == row["miou"] != recorded["miou"] == row["search_miou"]
            assert later["settings"]["scales"] == [1.0]
            assert later["settings"]["size"] == [64, 64]
            assert len(later["class_iou"]) == 6


def test_windows_flips_and_scales_are_taken_down(said, trained):
    whole = rows(said, "0")
    windows = rows(said, "0", "--sliding")  # as large as the scenes
    assert whole[0]["miou"] == pytest.approx(windows[0]["miou"], abs=1e-9)
    (row,) = rows(said, "0", "--sliding", "--flip", "--multi-scale")
    assert row["inference"] == "sliding, flip, 6 scales"
    assert row["miou"] != whole[0]["miou"]
    with Store.open("nas.db") as store:
        settings = [one["settings"] for one in store.evaluations(store.trial(1, 0)["id"])]
    assert [(s["sliding"], s["flip"], len(s["scales"])) for s in settings] == [
        (False, False, 1),
        (True, False, 1),
        (True, True, 6),
    ]
    shown = said("show", "tiny", "0")
    assert "sliding, flip, 6 scales" in shown.out
    assert "test_iou" in shown.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tiny"], "a trial's number or --front"),
        (["tiny", "0", "--front"], "a trial's number or --front"),
        (["tiny", "17"], "It has 3, up to 2"),
        (["tniy", "0"], "Did you mean 'tiny'"),
        (["tiny", "0", "--folder", "elsewhere"], "resources.keep"),
        (["tiny", "0", "--root", "elsewhere"], "a data set of files"),
        (["tiny", "0", "--device", "tpu"], "a device of this machine"),
    ],
)
def test_mistakes_get_one_message_and_exit_2(said, trained, words, says):
    done = said("evaluate", *words)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert "Traceback" not in done.err


def test_nothing_is_judged_where_one_checkpoint_of_the_front_is_missing(said, trained):
    last = json.loads(said("front", "tiny", "--format", "json").out)[-1]["number"]
    shutil.rmtree(trained / "nas_runs" / "tiny" / f"{last:06d}")
    done = said("evaluate", "tiny", "--front", "--device", "cpu")
    assert done.code == 2
    assert f"Trial {last} of tiny needs a checkpoint" in done.err
    with Store.open("nas.db") as store:
        assert not any(store.evaluations(row["id"]) for row in store.trials(1))


def test_weights_of_another_network_are_refused(said, trained):
    runs = trained / "nas_runs" / "tiny"
    shutil.copy(runs / "000000" / "checkpoint.pt", runs / "000001" / "checkpoint.pt")
    done = said("evaluate", "tiny", "1", "--device", "cpu")
    assert done.code == 2
    assert "belongs to another result" in done.err
    (runs / "000001" / "checkpoint.pt").write_bytes(b"noise")
    assert "is damaged" in said("evaluate", "tiny", "1", "--device", "cpu").err


def test_a_replayed_trial_has_the_weights_of_the_one_that_was_trained(said, trained):
    from nas.space import Space
    from nas.study import sweep

    from .conftest import TINY

    sweep(Space.loads(TINY), study="again", runner="local", folder="nas_runs")
    (row,) = json.loads(said("evaluate", "again", "1", "--device", "cpu", "--format", "json").out)
    assert row["miou"] == rows(said, "1")[0]["miou"]


FOLDER = """
name: photos
data: {folder: {root: data, size: [32, 32], classes: [dark, bright]}}
architecture: {backbone: {timm: {model: test_resnet}}, align: {bilinear: {channels: 16}}}
training: {epochs: 1, batch: 4}
search: {sampler: grid, trials: 1, early_stopping: none}
"""


def photographs(root, split, count, size):
    """Halves, one dark and one bright; the labels of the lower quarter are not known."""
    from PIL import Image

    rng = np.random.default_rng(count)
    for kind in ("images", "labels"):
        (root / kind / split).mkdir(parents=True)
    for number in range(count):
        label = np.zeros(size, np.uint8)
        label[:, size[1] // 2 :] = 1
        pixels = np.clip(label[..., None] * 150.0 + rng.normal(50, 20, (*size, 3)), 0, 255).astype(np.uint8)
        label[-size[0] // 4 :] = 255
        Image.fromarray(pixels).save(root / "images" / split / f"{number}.png")
        Image.fromarray(label).save(root / "labels" / split / f"{number}.png")


def test_files_are_judged_at_their_own_size_and_a_split_may_be_missing(said, tmp_path, monkeypatch):
    from nas.space import Space
    from nas.study import sweep

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_STORE", "nas.db")
    photographs(tmp_path / "data", "train", 8, (40, 56))
    photographs(tmp_path / "data", "val", 4, (40, 56))
    sweep(Space.loads(FOLDER), runner="local")

    done = said("evaluate", "photos", "0", "--device", "cpu")
    assert done.code == 2
    assert "Data set folder needs the split test: got splits=['train', 'val']" in done.err

    # Larger than what was trained on, and elsewhere than the space says.
    photographs(tmp_path / "moved", "test", 3, (48, 80))
    words = ("photos", "0", "--root", "moved", "--device", "cpu", "--format", "json")
    (whole,) = json.loads(said("evaluate", *words).out)
    (windows,) = json.loads(said("evaluate", *words, "--sliding", "--flip", "--multi-scale").out)
    assert (whole["samples"], windows["samples"]) == (3, 3)
    with Store.open("nas.db") as store:
        first, second = store.evaluations(1)
    assert first["settings"]["at"] == second["settings"]["at"] == "original"
    assert first["pixel_accuracy"] != second["pixel_accuracy"]


def test_a_network_of_one_size_takes_several_scales_by_windows(said, tmp_path, monkeypatch):
    from nas.space import Space
    from nas.study import sweep

    from .conftest import TINY

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_STORE", "nas.db")
    sets = ["architecture.backbone={timm: {model: test_vit}}", "architecture.context=none", "training.epochs=1"]
    sweep(Space.loads(TINY, sets=sets), runner="local")

    done = said("evaluate", "tiny", "0", "--multi-scale", "--device", "cpu")
    assert done.code == 2
    assert "Add --sliding" in done.err
    (row,) = rows(said, "0", "--multi-scale", "--sliding")
    assert row["inference"] == "sliding, 6 scales"


PROPORTIONS = """
name: photos
data: {folder: {root: data, size: [32, 32], short: 40, long: 80, classes: [dark, bright]}}
architecture: {backbone: {timm: {model: {choice: [test_resnet, test_vit]}}}, align: {bilinear: {channels: 16}}}
training: {epochs: 2, batch: 4, evaluation: whole, scale: [0.5, 2.0], largest_class: 0.75, photometric: true}
search: {sampler: grid, trials: 2, early_stopping: none}
"""


def test_samples_that_keep_their_proportions_are_judged_as_in_training(said, tmp_path, monkeypatch):
    from nas.space import Space
    from nas.study import sweep

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_STORE", "nas.db")
    photographs(tmp_path / "data", "train", 8, (40, 56))
    photographs(tmp_path / "data", "val", 4, (70, 48))
    photographs(tmp_path / "data", "test", 2, (30, 90))
    sweep(Space.loads(PROPORTIONS), runner="local")
    with Store.open("nas.db") as store:
        trained, refused = sorted(store.trials(1), key=lambda row: row["miou"] is None)
    # A network for one size is refused before it is trained, and told what to do.
    assert refused["state"] == "failed"
    with Store.open("nas.db") as store:
        assert "training.evaluation: sliding" in store.trial(1, refused["number"])["error"]

    def judged(*words):
        done = said("evaluate", "photos", str(trained["number"]), *words, "--device", "cpu", "--format", "json")
        assert done.code == 0, done.err
        return json.loads(done.out)[0]

    val, test, windows = judged("--split", "val"), judged(), judged("--sliding", "--flip", "--multi-scale")
    assert val["miou"] == trained["miou"]
    assert (val["samples"], test["samples"], windows["samples"]) == (4, 2, 2)
    assert windows["pixel_accuracy"] != test["pixel_accuracy"]
    with Store.open("nas.db") as store:
        settings = store.evaluations(trained["id"])[0]["settings"]
    assert {name: settings[name] for name in ("size", "short", "long", "at")} == {
        "size": [32, 32],
        "short": 40,
        "long": 80,
        "at": "original",
    }
    # Pictures lie beside each other whatever their proportions.
    shown = said("show", "photos", str(trained["number"]), "--picture", "it.png", "--split", "val", "--device", "cpu")
    assert shown.code == 0, shown.err
