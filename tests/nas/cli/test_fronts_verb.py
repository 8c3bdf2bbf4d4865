import csv
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from nas.cli import main
from nas.store import Store
from runners.protocol import Failed, Stopped

OBJECTIVES = {"miou": "max", "macs": "min"}
SPACE = """
name: shapes
data: {shapes: {size: [64, 64]}}
architecture:
  backbone: {timm: {model: {choice: [resnet10t, resnet18]}}}
  head: linear
training: {epochs: 1}
resources: {gpu: 0.5}
"""


class Said(NamedTuple):
    code: int
    out: str
    err: str


Nas = Callable[..., Said]
Add = Callable[..., int]


@pytest.fixture
def nas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], filled: Store) -> Nas:
    """The command, in this process, on the filled store."""
    monkeypatch.setenv("NAS_STORE", filled.url)

    def run(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["nas", *words])
        with pytest.raises(SystemExit) as exit:
            main()
        captured = capsys.readouterr()
        return Said(int(exit.value.code or 0), captured.out, captured.err)

    return run


def numbers(said: Said) -> list[int]:
    return [row["number"] for row in json.loads(said.out)]


def study_of(store: Store, name: str, space: str = "", objectives: dict[str, str] = OBJECTIVES) -> int:
    return store.create_study(name, space=space, objectives=objectives, budget={}, seed=0)


def test_any_two_or_three_objectives(nas: Nas) -> None:
    said = nas("front", "camvid", "--objective", "pixel_accuracy", "--objective", "params", "--format", "json")
    assert numbers(said) == [0]
    said = nas("front", "camvid", "--objective", "miou:min", "--objective", "macs:max", "--format", "json")
    assert set(numbers(said)) == {0, 2, 3}
    said = nas(*["front", "camvid", "--objective", "miou", "--objective", "flops", "--objective", "train_seconds"])
    assert "are on the front of miou (max), macs (min), train_seconds (min)" in said.out


def test_a_class_by_its_index_or_its_name(nas: Nas, filled: Store, add: Add) -> None:
    said = nas("front", "camvid", "--objective", "iou.0", "--objective", "macs", "--format", "json")
    assert [row["iou.0"] for row in json.loads(said.out)] == [0.2, 0.4, 0.5]
    study = study_of(filled, "shapes", SPACE)
    add(filled, study)
    said = nas("front", "shapes", "--objective", "iou.house", "--objective", "macs")
    assert "the front of iou.house (max), macs (min)" in said.out
    assert "IoU of house" in said.out
    said = nas("front", "shapes", "--objective", "iou.huose", "--objective", "macs")
    assert (said.code, "Did you mean 'house'" in said.err) == (2, True)
    said = nas("front", "camvid", "--objective", "iou.road", "--objective", "macs")
    assert (said.code, "Give its index" in said.err) == (2, True)


def test_the_best_network_under_each_limit(nas: Nas) -> None:
    words = ["front", "camvid", "--under", "macs=2.5e9", "--under", "macs=1e10,params=1e7", "--under", "macs=1"]
    said = nas(*words)
    assert said.out.splitlines()[0] == "Best miou under each limit"
    found = list(csv.DictReader(io.StringIO(nas(*words, "--format", "csv").out)))
    assert [(row["under"], row["number"]) for row in found] == [
        ("macs <= 2.50 G", "1"),
        ("macs <= 10.0 G, params <= 10.0 M", "0"),
        ("macs <= 1", ""),
    ]


def test_the_rest_come_after_the_front_with_their_distance(nas: Nas) -> None:
    said = nas("front", "camvid", "--rest")
    assert "Not on the front, the nearest first" in said.out
    rows = json.loads(nas("front", "camvid", "--rest", "--format", "json").out)
    assert [(row["number"], row["front"]) for row in rows] == [(0, True), (1, True), (3, True), (2, False)]
    assert rows[-1]["miou_missing"] == pytest.approx(0.05)
    assert rows[-1]["distance"] == pytest.approx(((0.05 / 0.3) ** 2 + (1 / 39) ** 2) ** 0.5)


def test_what_is_not_final_is_shown_when_asked_for_and_marked(
    nas: Nas, filled: Store, filled_id: int, add: Add
) -> None:
    add(filled, filled_id, context="ocr", mious=(0.9,), outcome=Stopped(rung=1, missing=0.5))
    said = nas("front", "camvid")
    assert "Left out, because they are not final: 1 in training, 1 stopped early. --early" in said.out
    rows = json.loads(nas("front", "camvid", "--early", "--format", "json").out)
    assert [(row["number"], row["state"], row["final"]) for row in rows] == [
        (4, "running", False),
        (6, "stopped", False),
    ]


def test_several_studies_say_whose_each_trial_is(nas: Nas, filled: Store, add: Add) -> None:
    add(filled, study_of(filled, "other"), context="ocr", macs=1_500_000_000, mious=(0.1, 0.45))
    said = nas("front", "camvid", "other")
    assert said.out.startswith("camvid + other: 3 of 5 finished trials")
    assert "The studies differ in their epochs (camvid: 3, other: 2)" in said.out
    rows = json.loads(nas("front", "camvid", "other", "--format", "json").out)
    assert [(row["study"], row["number"]) for row in rows] == [("camvid", 0), ("other", 0), ("camvid", 3)]


def test_seeds_are_averaged(nas: Nas, filled: Store, filled_id: int, add: Add) -> None:
    add(filled, filled_id, context="none", seed=1, macs=1_000_000_000, mious=(0.1, 0.2, 0.4))
    said = nas("front", "camvid", "--seeds", "mean")
    assert "finished networks" in said.out
    (first, *_) = json.loads(nas("front", "camvid", "--seeds", "mean", "--format", "json").out)
    assert (first["numbers"], first["n"], first["miou"]) == ("0 6", 2, pytest.approx(0.3))


@pytest.mark.slow
def test_published_networks_lie_beside_ours(nas: Nas, tmp_path: Path) -> None:
    page = tmp_path / "front.html"
    said = nas("front", "camvid", "--published", "CamVid", "--html", str(page))
    for part in ("Published", "dfanet", "720x960", "◇ published", "costs are counted by nas", "--size 120x160"):
        assert part in said.out
    assert "diamond-open" in page.read_text(encoding="utf-8")
    rows = json.loads(nas(*["front", "camvid", "--published", "camvid", "--size", "120x160", "--format", "json"]).out)
    (dfanet,) = [row for row in rows if row["published"]]
    assert (dfanet["network"], dfanet["size"], dfanet["classes"]) == ("dfanet", "120x160", 11)
    assert dfanet["macs"] > 0
    assert dfanet["source"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("front camvid --objective miou", "two or three"),
        ("front camvid --objective miou --objective miou", "two or three"),
        ("front camvid --objective miou:up --objective macs", "max or min"),
        ("front camvid --objective miuo --objective macs", "Did you mean 'miou'"),
        ("front camvid --objective miou --objective context", "a column of numbers"),
        ("front camvid --objective miou --objective macs --x params", "one of the objectives"),
        ("front camvid --under macs", "a name and a number"),
        ("front camvid --under macs=nan", "a name and a number"),
        ("front camvid --under mac=5", "Did you mean 'macs'"),
        ("front camvid --published cityscape", "Did you mean 'cityscapes'"),
        ("front camvid --published camvid --x latency_ms", "known of them"),
        ("front camvid --published camvid --size big", "height x width"),
        ("front camvid camvdi", "Did you mean 'camvid'"),
        ("progress camvdi", "Did you mean 'camvid'"),
        ("progress camvid --reference miou=0", "a value for each objective"),
        ("progress camvid --reference miou=0,macs=1e9,params=3", "values of the objectives alone"),
        ("progress camvid --reference miou=0,macs=0", "costs above 0"),
        ("compare camvid camvdi", "Did you mean 'camvid'"),
    ],
)
def test_mistakes_get_one_message_and_exit_2(nas: Nas, words: str, says: str) -> None:
    said = nas(*words.split())
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert "Traceback" not in said.err


VERBS = (
    "front NAME",
    "front NAME --rest --seeds mean --early",
    "front NAME --under macs=5",
    "progress NAME",
    "compare NAME NAME",
)


@pytest.mark.parametrize("words", VERBS)
def test_a_study_with_nothing_to_show_is_answered(nas: Nas, filled: Store, add: Add, words: str) -> None:
    study_of(filled, "empty")
    failures = study_of(filled, "failures")
    add(filled, failures, mious=(), outcome=Failed("no memory", "", ""))
    add(filled, failures, context="ppm", mious=(0.1, float("nan"), float("nan")))
    one = study_of(filled, "one")
    add(filled, one)
    equal = study_of(filled, "equal")
    for context in ("none", "ppm"):
        add(filled, equal, context=context)
    for name in ("empty", "failures", "one", "equal"):
        for format in ("table", "json", "csv", "md"):
            said = nas(*words.replace("NAME", name).split(), "--format", format)
            assert (said.code, said.err) == (0, "")


def test_progress_shows_what_was_found_when_so_much_was_spent(nas: Nas) -> None:
    said = nas("progress", "camvid")
    lines = said.out.splitlines()
    assert lines[0] == "Hypervolume of the front, from miou 0, macs 40.0 G; 1 is a perfect network at no cost"
    assert "epochs trained" in said.out
    rows = json.loads(nas("progress", "camvid", "--reference", "miou=0,macs=1e10", "--format", "json").out)
    assert [row["trial"] for row in rows[:4]] == [0, 1, 2, 3]
    assert rows[-1]["epochs"] == 13
    assert rows[0]["hypervolume"] == pytest.approx(0.2 * 0.9)
    assert rows[1]["hypervolume"] == pytest.approx(0.2 * 0.9 + 0.2 * 0.8)
    assert rows[0]["hours"] == pytest.approx(6 / 3600)


def test_hours_on_gpus_are_gpu_hours(nas: Nas, filled: Store, add: Add) -> None:
    study = study_of(filled, "shapes", SPACE)
    trial = add(filled, study, outcome=None)
    filled.start(trial, "node1", "cuda:0 NVIDIA H200")
    (row,) = json.loads(nas("progress", "shapes", "--format", "json").out)
    assert row["gpu_hours"] == pytest.approx(0.5 * 6 / 3600)
    assert "GPU hours" in nas("progress", "camvid", "shapes", "--over", "hours").out


def test_two_studies_are_compared(nas: Nas, filled: Store, add: Add) -> None:
    other = study_of(filled, "other")
    add(filled, other, context="none", macs=1_000_000_000, mious=(0.1, 0.1, 0.2))
    add(filled, other, context="ppm", macs=3_000_000_000, mious=(0.1, 0.1, 0.5))
    add(filled, other, context="ocr", macs=40_000_000_000, mious=(0.1, 0.1, 0.6))
    said = nas("compare", "camvid", "other")
    assert "times that of camvid (from miou 0, macs 40.0 G)" in said.out
    rows = json.loads(nas("compare", "camvid", "other", "--format", "json").out)
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("hypervolume", "gained", "lost", "shared")}
    area = 0.2 * 2 + 0.5 * 37
    assert kinds["hypervolume"][0]["ratio"] == pytest.approx(area / (0.2 * 1 + 0.4 * 38))
    assert [row["number"] for row in kinds["gained"]] == [1, 2]
    assert [row["number"] for row in kinds["lost"]] == [1]
    shared = [(row["first"], row["second"], row["same"], row["miou_change"]) for row in kinds["shared"]]
    assert shared == [("1", "1", "result", pytest.approx(0.1)), ("0", "0", "result", 0)]


@pytest.mark.parametrize("verb", ["front", "progress", "compare"])
def test_studies_of_different_data_are_said_to_be_no_match(nas: Nas, filled: Store, add: Add, verb: str) -> None:
    add(filled, study_of(filled, "same"), context="ocr")
    add(filled, study_of(filled, "small"), context="ocr", size=(60, 80))
    assert "differ in their data" not in nas(verb, "camvid", "same").out
    found = re.search(
        r"differ in their data or its size \(camvid: (.*), small: (.*)\): their mIoU", nas(verb, "camvid", "small").out
    )
    assert found and found[1] != found[2]
    assert all(words.startswith("shapes ") for words in found.groups())
    assert "differ" not in nas(verb, "camvid", "small", "--format", "json").out
