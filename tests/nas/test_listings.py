import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nas.cli import main
from nas.store import Store
from runners.protocol import Failed

HEAVY = {"torch", "ray", "timm", "optuna", "plotly"}


class Said(NamedTuple):
    code: int
    out: str
    err: str


Nas = Callable[..., Said]


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


def test_studies_are_listed(nas: Nas) -> None:
    said = nas("studies")

    assert said.code == 0
    header, _, row = said.out.splitlines()
    assert header.split() == [
        "name",
        "trials",
        "running",
        "finished",
        "interrupted",
        "miou",
        "objectives",
        "seed",
        "created",
    ]
    assert row.split()[:6] == ["camvid", "6", "1", "4", "1", "0.5000"]
    (flat,) = json.loads(nas("studies", "--format", "json").out)
    assert (flat["name"], flat["trials"], flat["failed"]) == ("camvid", 6, 0)


def test_trials_can_be_filtered(nas: Nas) -> None:
    said = nas("trials", "camvid", "--where", "macs < 2.5e9 and context == 'ppm'", "--format", "json")
    (row,) = json.loads(said.out)
    assert (row["number"], row["macs"], row["params"]) == (1, 2_000_000_000, 20_000_000)

    said = nas("trials", "camvid", "--state", "interrupted", "--state", "running", "--format", "csv")
    assert [row["number"] for row in csv.DictReader(io.StringIO(said.out))] == ["4", "5"]

    said = nas("trials", "camvid", "--format", "md")
    assert said.out.startswith("| number | state | miou | macs |")
    assert len(said.out.splitlines()) == 8


def test_the_front_is_shown_with_its_picture(nas: Nas) -> None:
    said = nas("front", "camvid")

    title, header, _, *rest = said.out.splitlines()
    assert title == "camvid: 3 of 4 finished trials are on the front of miou (max), macs (min)"
    assert header.split()[:4] == ["number", "miou", "macs", "params"]
    assert [line.split()[0] for line in rest[:3]] == ["0", "1", "3"]
    assert said.out.count("●") == 4  # three and the legend's
    assert "MACs (logarithmic)" in said.out
    assert "●" not in nas("front", "camvid", "--no-picture").out


def test_the_front_of_other_axes_and_of_a_part(nas: Nas) -> None:
    rows = json.loads(nas("front", "camvid", "--x", "flops", "--y", "miou_best", "--format", "json").out)
    assert [row["number"] for row in rows] == [0, 1, 3]
    assert rows[0]["miou_best"] == 0.25
    rows = json.loads(nas("front", "camvid", "--where", "context != 'psa'", "--format", "json").out)
    assert [row["number"] for row in rows] == [0, 1]
    assert json.loads(nas("front", "camvid", "--where", "macs < 1", "--format", "json").out) == []


def test_the_front_as_a_page_leaves_the_output_to_the_rows(nas: Nas, tmp_path: Path) -> None:
    said = nas("front", "camvid", "--format", "json", "--html", str(tmp_path / "front.html"))

    assert len(json.loads(said.out)) == 3
    assert "front.html" in said.err
    assert "Plotly.newPlot" in (tmp_path / "front.html").read_text(encoding="utf-8")


def test_one_trial_is_shown_in_full(nas: Nas, filled: Store, filled_id: int) -> None:
    running = filled.trials(filled_id, "state == 'running'")[0]["id"]
    filled.end(running, Failed("diverged at step 7", "Traceback (most recent call last): ...", "loss is nan\n"))

    said = nas("show", "camvid", "4")

    assert said.code == 0
    for part in (
        "mobilenetv3_small_100",
        "context.psa.mode",
        "learning_rate",
        "Epochs",
        "diverged at step 7",
        "Traceback (most recent",
        "epoch 1\nloss is nan",
    ):
        assert part in said.out
    (flat,) = json.loads(nas("show", "camvid", "4", "--format", "json").out)
    assert (flat["state"], flat["context.psa.mode"], flat["log"]) == ("failed", "parallel", "epoch 1\nloss is nan\n")
    assert all(not isinstance(value, dict | list) for value in flat.values())
    curve = json.loads(nas("show", "camvid", "1", "--epochs", "--format", "json").out)
    assert [row["miou"] for row in curve] == [0.2, 0.3, 0.4]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["front", "camvdi"], "Did you mean 'camvid'"),
        (["trials", "camvid", "--where", "param < 5"], "Did you mean 'params'"),
        (["trials", "camvid", "--state", "finnished"], "Did you mean 'finished'"),
        (["trials", "camvid", "--format", "jsn"], "Did you mean 'json'"),
        (["front", "camvid", "--x", "mac"], "Did you mean 'macs'"),
        (["front", "camvid", "--y", "context"], "a column of numbers"),
        (["front", "camvid", "--x", "macs", "--y", "flops"], "two different axes"),
        (["show", "camvid", "77"], "It has 6, up to 5"),
        (["studies", "--store", "absent.db"], "nas sweep"),
    ],
)
def test_mistakes_get_one_message_and_exit_2(nas: Nas, words: list[str], says: str) -> None:
    said = nas(*words)

    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert "Traceback" not in said.err


def run_fresh(store: Store, *words: str, then: str = "") -> "subprocess.CompletedProcess[str]":
    code = f"import sys\nfrom nas.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n{then}"
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={"NAS_STORE": store.url, "PATH": ""})


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["front", "camvid"],
        ["studies"],
        ["trials", "camvid", "--where", "macs > 1"],
        ["show", "camvid", "0", "--quick"],
        ["show", "camvid", "0", "--format", "json"],
    ],
)
def test_reading_imports_nothing_heavy(filled: Store, words: list[str]) -> None:
    then = f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    done = run_fresh(filled, *words, then=then)
    assert done.stdout
    assert done.stderr.splitlines()[-1] == "[]"


def test_an_empty_study_can_be_listed(nas: Nas, filled: Store) -> None:
    filled.create_study("empty", space="", objectives={"miou": "max", "latency_ms": "min"}, budget={}, seed=0)
    for words in (["trials", "empty"], ["front", "empty"]):
        assert json.loads(nas(*words, "--format", "json").out) == []
        said: Any = nas(*words)
        assert said.code == 0
