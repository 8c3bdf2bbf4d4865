import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from blocks.errors import StoreError
from nas.store import Store, default_url
from nas.store.schema import VERSION


def test_the_default_is_the_environments_or_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAS_STORE", raising=False)
    assert default_url() == "sqlite:///nas.db"
    monkeypatch.setenv("NAS_STORE", "other.db")
    assert default_url() == "other.db"


def test_reading_a_store_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nas sweep"):
        Store.open(str(tmp_path / "nas.db"), create=False)
    assert not (tmp_path / "nas.db").exists()


def test_a_database_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all, but long enough to look at\n" * 100)
    with sqlite3.connect(tmp_path / "other.db") as plain:
        plain.execute("CREATE TABLE trial (id INTEGER)")
    (tmp_path / "empty.db").touch()

    for url, match in (
        (str(tmp_path / "text.db"), "not a database"),
        (str(tmp_path / "other.db"), "tables of ours"),
        (str(tmp_path / "absent" / "nas.db"), "mkdir -p"),
        ("nonsense://x", "driver"),
        ("://", "database URL"),
    ):
        with pytest.raises(StoreError, match=match):
            Store.open(url)
    with pytest.raises(StoreError, match="results in it"):
        Store.open(str(tmp_path / "empty.db"), create=False)


@pytest.mark.parametrize(("found", "remedy"), [(99, "pip install -U segnas"), (0, "start anew")])
def test_another_schema_version_is_refused(store: Store, study_id: int, found: int, remedy: str) -> None:
    with create_engine(store.url).begin() as connection:
        connection.execute(text("UPDATE schema SET version = :v"), {"v": found})

    for create in (True, False):
        with pytest.raises(StoreError, match=rf"schema version {VERSION}: got version={found}.*{remedy}"):
            Store.open(store.url, create=create)


def test_passwords_stay_out_of_messages() -> None:
    with pytest.raises(StoreError) as caught:
        Store.open("postgresql://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)
