"""`nas show`: what is known of one trial, trained or not."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from blocks.architecture import Architecture, Component
from nas.store import Store
from runners.protocol import Failed, Finished, Interrupted, Rejected, Stopped


@pytest.fixture
def camvid(filled, monkeypatch):
    monkeypatch.setenv("NAS_STORE", filled.url)
    return filled


@pytest.mark.slow
@pytest.mark.xdist_group("trained")
class TestTrained:
    def test_costs_by_part_add_up_to_what_is_recorded(self, said, trained):
        done = said("show", "tiny", "1")
        assert done.code == 0, done.err
        lines = done.out[done.out.index("Costs by part") :].splitlines()[3:]
        parts = {line.split()[0]: line for line in lines[: lines.index("")]}
        assert list(parts) == ["backbone", "context", "align", "head", "all"]
        assert "ppm bins=[1,2] channels=16" in parts["context"]
        with Store.open("nas.db") as store:
            row = store.trial(1, 1)
        assert f"{row['macs'] / 1e6:.1f} M" in parts["all"]

    def test_classes_have_their_names_and_the_curve_is_drawn(self, said, trained):
        out = said("show", "tiny", "1").out
        assert re.search(r"^ +4 +sheep +\d\.\d{4}$", out, flags=re.MULTILINE)
        assert "●" in out[out.index("Epochs") :]
        assert "MACs (min)" in out

    def test_predictions_are_drawn_beside_image_and_label(self, said, trained):
        done = said("show", "tiny", "0", "--images", "2", "--device", "cpu")
        assert done.code == 0, done.err
        assert "Written to tiny-0.png" in done.err
        picture = np.asarray(Image.open("tiny-0.png"))
        width = picture.shape[1] // 3
        image, label = picture[30 : 30 + width, :width], picture[30 : 30 + width, width : 2 * width]
        guess = picture[30 : 30 + width, 2 * width :]
        assert not np.array_equal(image, label)
        assert not np.array_equal(label, guess)
        assert len(np.unique(guess.reshape(-1, 3), axis=0)) > 10  # the image shines through

    def test_pictures_have_their_own_mistakes(self, said, trained):
        assert "ends in .png" in said("show", "tiny", "0", "--images", "1", "--picture", "x.jpg").err
        done = said("show", "tiny", "0", "--images", "1", "--folder", "elsewhere")
        assert (done.code, "a checkpoint" in done.err) == (2, True)


def test_how_a_trial_ranks_is_a_sentence(said, camvid):
    assert "On the front of mIoU (max), MACs (min): no other of 4" in said("show", "camvid", "0", "--quick").out
    # Number 2 costs more than number 1 and has less.
    out = said("show", "camvid", "2", "--quick").out
    assert "in layer 2 of 2" in out
    assert "Trial 1 has 0.0500 more mIoU at no more MACs." in out
    assert "It is running: only final results" in said("show", "camvid", "4", "--quick").out
    (flat,) = json.loads(said("show", "camvid", "2", "--format", "json").out)
    assert (flat["layer"], flat["layers"], flat["better_trial"]) == (2, 2, 1)
    assert flat["missing_to_front"] == pytest.approx(0.05)
    assert json.loads(flat["evaluations"]) == []


def test_components_that_are_not_here_are_a_note_and_no_error(said, camvid):
    """Its `psa` has options of another version."""
    done = said("show", "camvid", "3")
    assert done.code == 0
    assert "Costs by part are not known here: " in done.out
    assert "gate" in done.out
    assert "0.5000" in done.out


def test_without_classes_by_name_they_go_by_number(said, camvid):
    """The data set of the store's protocol has another number of classes than its results."""
    assert re.search(r"^ +0 +0\.2000", said("show", "camvid", "0").out, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (Failed("diverged [red]", "Traceback <script>"), "diverged [red]"),
        (Rejected("latency_ms", 21.0, 20.0), "latency_ms"),
        (Stopped(1, 0.5), "It is stopped"),
        (Interrupted(), "It is interrupted"),
    ],
)
def test_what_never_finished_is_shown_as_far_as_it_is_known(said, camvid, add, outcome, says):
    add(camvid, camvid.find_study("camvid")["id"], mious=(), outcome=outcome)
    for format in ("table", "md", "json", "csv"):
        done = said("show", "camvid", "6", "--quick", "--format", format)
        assert done.code == 0, done.err
        assert says in done.out or format in ("json", "csv")


def test_nan_equal_values_and_a_single_trial(said, store, add, study_id, monkeypatch):
    monkeypatch.setenv("NAS_STORE", store.url)
    add(store, study_id, mious=(0.1, float("nan"), float("nan")), outcome=Finished())
    done = said("show", "camvid", "0", "--quick")
    assert "It is finished: only final results with all objectives" in done.out
    assert "Too few epochs" in done.out
    add(store, study_id, context="ppm", mious=(0.2, 0.2, 0.2))
    out = said("show", "camvid", "1", "--quick").out
    assert "no other of 1 final results" in out
    assert "0.200" in out


def test_an_evaluation_that_was_recorded_is_shown(said, camvid):
    trial = camvid.trial(1, 0)
    facts = {"split": "test", "samples": 9, "settings": {"flip": True, "scales": [1.0]}, "seconds": 1.0}
    camvid.record_evaluation(
        trial["id"], {**facts, "miou": 0.1234, "pixel_accuracy": 0.5, "class_iou": [0.1, None, 0.2]}
    )
    out = said("show", "camvid", "0", "--quick").out
    assert "0.1234" in out
    assert "flip" in out
    assert camvid.trial(1, 0)["miou"] == trial["miou"]  # the search's own figure stays


def test_parts_of_a_network_cost_what_the_network_does():
    from dataclasses import astuple

    from blocks.cost import cost_of, costs_by_part

    value = Architecture(
        backbone=Component.of("timm", {"model": "test_resnet"}),
        context=Component("ppm"),
        align=Component("bilinear"),
        refine=Component("psa"),
    )
    parts = costs_by_part(value, size=(64, 96), classes=5)
    assert list(parts) == ["backbone", "context", "align", "refine", "head"]
    whole = tuple(map(sum, zip(*map(astuple, parts.values()), strict=True)))
    assert whole == astuple(cost_of(value, size=(64, 96), classes=5))
    assert all(part.params > 0 for part in parts.values())
