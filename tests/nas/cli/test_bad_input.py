"""What is not there, not ours, broken, or too little to answer from: one clear message or a sensible empty answer."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from nas.store import Store
from nas.store.schema import VERSION
from runners.protocol import Failed, Rejected, Stopped

Make = Callable[..., Any]

ASK: dict[str, Sequence[str]] = {
    "trials": ("trials", "STUDY"),
    "front": ("front", "STUDY"),
    "front of means": ("front", "STUDY", "--seeds", "mean", "--rest"),
    "front under": ("front", "STUDY", "--under", "macs=5e9"),
    "front early": ("front", "STUDY", "--early", "--rest"),
    "progress": ("progress", "STUDY"),
    "compare": ("compare", "STUDY", "STUDY"),
    "effects": ("effects", "STUDY", "--pairs"),
    "show": ("show", "STUDY", "0"),
    "evaluate": ("evaluate", "STUDY", "0"),
    "evaluate the front": ("evaluate", "STUDY", "--front"),
    "export of all": ("export", "STUDY", "--format", "csv"),
    "export of one": ("export", "STUDY", "0", "--format", "yaml"),
    "export of a network": ("export", "STUDY", "0", "--format", "safetensors", "-o", "net.safetensors"),
    "table": ("table", "STUDY"),
    "report": ("report", "STUDY", "-o", "page.html", "--png", "figures"),
}
"""Every verb that reads a study."""


def asked(name: str, study: str) -> list[str]:
    return [study if word == "STUDY" else word for word in ASK[name]]


def missing(file: Path, good: Path) -> None:
    pass


def nothing(file: Path, good: Path) -> None:
    file.touch()


def words(file: Path, good: Path) -> None:
    file.write_text("no database at all, but long enough to look at\n" * 200)


def cut(file: Path, good: Path) -> None:
    """The head of a store: the header is whole, pages are missing."""
    content = good.read_bytes()
    file.write_bytes(content[: len(content) // 3])


def garbled(file: Path, good: Path) -> None:
    """A store whose pages, but for the header, were overwritten."""
    content = good.read_bytes()
    file.write_bytes(content[:100] + b"\x5a" * (len(content) - 100))


def foreign(file: Path, good: Path) -> None:
    with sqlite3.connect(file) as plain:
        plain.execute("CREATE TABLE trial (id INTEGER, number INTEGER)")
    plain.close()


def newer(file: Path, good: Path) -> None:
    shutil.copy(good, file)
    with sqlite3.connect(file) as plain:
        plain.execute("UPDATE schema SET version = ?, written_by = '9.9'", (VERSION + 1,))
    plain.close()


BAD: dict[str, tuple[Make, str]] = {
    "missing": (missing, "Run `nas sweep` first"),
    "empty": (nothing, "Run `nas sweep` first"),
    "words": (words, "file is not a database"),
    "cut": (cut, "malformed"),
    "garbled": (garbled, "--store"),
    "foreign": (foreign, "a database of its own"),
    "newer": (newer, "pip install -U segnas"),
}


@pytest.fixture(scope="session")
def good(filled_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in one file, without a log beside it."""
    file = tmp_path_factory.mktemp("good") / "good.db"
    with sqlite3.connect(filled_file) as plain:
        plain.execute("VACUUM INTO ?", (str(file),))
    plain.close()
    return file


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_STORE", "bad.db")


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", ASK)
def test_no_store_of_ours_is_one_message_and_stays_as_it_is(said: Make, good: Path, name: str, kind: str) -> None:
    make, says = BAD[kind]
    make(Path("bad.db"), good)
    before = contents()

    code, out, err = said(*asked(name, "camvid"))

    assert (code, out) == (2, ""), err
    assert says in err
    assert err.startswith("nas: ")
    assert "Traceback" not in err
    assert contents() == before


def contents() -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in Path().rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", ASK)
def test_an_unknown_study_gets_the_nearest_name(said: Make, good: Path, name: str) -> None:
    shutil.copy(good, "bad.db")

    code, out, err = said(*asked(name, "camvdi"))

    assert (code, out) == (2, "")
    assert "Did you mean 'camvid'?" in err
    assert sorted(contents()) == ["bad.db"]


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            (*asked(name, "camvid"), "--where", "parms < 5e6")
            for name in ("trials", "front", "front of means", "front under", "effects", "table")
        ),
        ("front", "camvid", "--objective", "parms", "--objective", "miou"),
        ("front", "camvid", "--x", "parms"),
        ("front", "camvid", "--under", "parms=5e6"),
        ("progress", "camvid", "--objective", "parms", "--objective", "miou"),
        ("progress", "camvid", "--reference", "miuo=0,macs=1e12"),
        ("compare", "camvid", "camvid", "--objective", "parms", "--objective", "miou"),
    ],
    ids=" ".join,
)
def test_an_unknown_column_gets_the_nearest_name(said: Make, good: Path, arguments: Sequence[str]) -> None:
    shutil.copy(good, "bad.db")

    code, out, err = said(*arguments)

    assert (code, out) == (2, "")
    assert "Did you mean" in err


@pytest.mark.parametrize("name", ["show", "evaluate", "export of one", "export of a network"])
def test_an_unknown_trial_is_told_how_many_there_are(said: Make, good: Path, name: str) -> None:
    shutil.copy(good, "bad.db")

    code, out, err = said(*("77" if word == "0" else word for word in asked(name, "camvid")))

    assert (code, out) == (2, "")
    assert "77" in err
    assert "up to 5" in err


def empty(store: Store, study: int, add: Make) -> None:
    pass


def failures(store: Store, study: int, add: Make) -> None:
    for number in range(3):
        add(store, study, seed=number, mious=(), outcome=Failed("CUDA out of memory", "RuntimeError: memory", ""))


def unfinished(store: Store, study: int, add: Make) -> None:
    add(store, study, seed=0, mious=(0.1,), outcome=Stopped(rung=1, missing=0.5))
    add(store, study, seed=1, mious=(), outcome=Rejected("macs", 2e10, 1e10))


def one(store: Store, study: int, add: Make) -> None:
    add(store, study)


def equal(store: Store, study: int, add: Make) -> None:
    for number in range(6):
        add(store, study, seed=number // 2, context=("none", "ppm")[number % 2], mious=(0.3, 0.3, 0.3))


def not_a_number(store: Store, study: int, add: Make) -> None:
    for number in range(3):
        add(store, study, seed=number, mious=(float("nan"),) * 3)


ODD = {make.__name__: make for make in (empty, failures, unfinished, one, equal, not_a_number)}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ASK)
def test_too_little_to_answer_from_is_said(said: Make, add: Make, name: str, kind: str) -> None:
    goals = {"miou": "max", "macs": "min"}
    with Store.open("bad.db") as store:
        ODD[kind](store, store.create_study("odd", space="name: odd", objectives=goals, budget={}, seed=0), add)

    code, out, err = said(*asked(name, "odd"))

    assert code in (0, 2)
    assert "Traceback" not in err
    assert "Warning" not in err
    assert "nan" not in out.casefold()
    assert out or err
    assert (code == 2) == err.startswith("nas: ")
