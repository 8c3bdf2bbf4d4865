"""What the pages under docs/ say: the tutorial run, the references compared with what they are written from."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas import Space
from nas.report.reference import reference
from nas.store import Store
from nas.store.reference import _ABOUT, _MEANINGS, updated
from nas.store.schema import metadata

DOCS = Path(__file__).parents[1] / "docs"
TUTORIAL = (DOCS / "tutorial.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", (DOCS / "sql.md").read_text(), flags=re.DOTALL)
SOME = {"nas data mine.yaml", "nas space mine.yaml"}  # their output is the same everywhere


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def steps() -> Iterator[tuple[str, list[str]]]:
    """Every `$ ...` line of the tutorial, with the output that is shown below it."""
    for block in blocks(TUTORIAL, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            yield command, shown


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command, comments=True)
    words = [sys.executable, *(["-m", "nas"] if program == "nas" else []), *arguments]
    return subprocess.run(
        words, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, subprocess.CompletedProcess[str]]]:
    """A folder in which the whole tutorial was carried out, and what each command said."""
    folder = tmp_path_factory.mktemp("tutorial")
    for text in (*blocks(TUTORIAL, "python"), *blocks(TUTORIAL, "yaml")):
        name, _, rest = text.partition("\n")
        (folder / name.removeprefix("# ")).write_text(rest)
    done = {}
    lacks = importlib.util.find_spec("tensorboard") is None
    for step, _ in steps():
        command = step.replace(" --tensorboard curves", "") if lacks else step
        done[command] = run(command, folder)
        assert done[command].returncode == 0, f"{command}: {done[command].stderr}"
    return folder, done


@pytest.mark.slow
@pytest.mark.xdist_group("tutorial")
def test_every_command_of_the_tutorial_runs(
    followed: tuple[Path, dict[str, subprocess.CompletedProcess[str]]],
) -> None:
    folder, done = followed
    assert len(done) >= 8
    assert (folder / "samples.png").stat().st_size > 1000
    for command, shown in steps():
        if command in SOME:
            printed = done[command].stdout.splitlines()
            assert [line for line in shown if line not in ("", "...") and line not in printed] == [], command
    effects = done["nas effects mine"].stdout
    assert effects.startswith("mine: 12 networks from 12 final trials")
    assert "too few" not in effects
    assert re.search(r"^ backbone\.timm\.model +resnet10t +6 ", effects, re.MULTILINE)
    shown = next(shown for command, shown in steps() if command == "nas effects mine")
    # The page explains the table in the words of today.
    assert {line for line in shown if line.startswith(("difference", "Shares", "All rows"))} <= set(
        effects.splitlines()
    )


@pytest.mark.slow
@pytest.mark.xdist_group("tutorial")
@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_every_query_runs_on_a_real_store(
    followed: tuple[Path, dict[str, subprocess.CompletedProcess[str]]], number: int
) -> None:
    with sqlite3.connect(f"file:{followed[0] / 'nas.db'}?mode=ro", uri=True) as connection:
        rows = connection.execute(QUERIES[number]).fetchall()
    # Nothing failed there, and nothing was rejected.
    assert bool(rows) != ("rejected" in QUERIES[number])
    assert all(None not in row for row in rows if "choice.path, choice.value" not in QUERIES[number])


@pytest.mark.slow
@pytest.mark.xdist_group("tutorial")
def test_the_front_in_sql_is_the_front(
    followed: tuple[Path, dict[str, subprocess.CompletedProcess[str]]],
) -> None:
    from nas import Study

    query = next(q for q in QUERIES if "NOT EXISTS" in q)
    with sqlite3.connect(followed[0] / "nas.db") as connection:
        found = [row[0] for row in connection.execute(query)]
    assert found == list(Study("mine", f"sqlite:///{followed[0] / 'nas.db'}").front()["number"])


def test_there_are_ten_queries() -> None:
    assert len(QUERIES) == 10


def test_every_query_fits_the_tables_of_a_new_store(tmp_path: Path) -> None:
    Store.open(str(tmp_path / "nas.db")).close()
    with sqlite3.connect(tmp_path / "nas.db") as connection:
        for query in QUERIES:
            assert connection.execute(query).fetchall() == []


def test_the_sql_reference_is_current() -> None:
    page = (DOCS / "sql.md").read_text()
    assert updated(page) == page, "run: python -m nas.store.reference docs/sql.md"


def test_the_sql_reference_describes_what_exists() -> None:
    columns = {f"{table.name}.{column.name}" for table in metadata.sorted_tables for column in table.columns}
    assert set(_MEANINGS) <= columns
    assert set(_ABOUT) == set(metadata.tables)


def test_the_yaml_reference_is_current() -> None:
    assert (DOCS / "yaml.md").read_text() == reference(), "run: python -m nas.report.reference > docs/yaml.md"


def test_the_examples_of_the_yaml_reference_are_valid() -> None:
    (example,) = blocks((DOCS / "yaml.md").read_text(), "yaml")
    assert Space.loads(example).count() > 1
