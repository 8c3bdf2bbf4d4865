"""Open a database: where it is, how it is locked, and whether it is ours."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, inspect, make_url, select
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    NotSupportedError,
    ProgrammingError,
    SQLAlchemyError,
)

from blocks.errors import StoreError, law
from nas.store import schema

_BUSY_SECONDS = 60
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "afs", "9p", "glusterfs"}


def parse(url: str) -> URL:
    """Read a path or an SQLAlchemy URL.

    Raises:
        StoreError: it is neither.
    """
    if "://" not in url:
        return URL.create("sqlite", database=str(Path(url).expanduser()))
    try:
        return make_url(url)
    except ArgumentError as error:
        remedy = "Write a path, sqlite:///nas.db or postgresql://user@host/name"
        raise StoreError(law("The store", "a path or a database URL", {"store": url}, remedy)) from error


def connect(url: URL, *, create: bool) -> Engine:
    """Open the database, make our tables in it if allowed, and check that they are of this version.

    Raises:
        StoreError: it does not exist, cannot be reached, or holds another version's or another program's tables.
    """
    name = url.render_as_string(hide_password=True)
    file = file_of(url)
    if file and not create and not file.exists():
        remedy = "Run `nas sweep` first, or say where it is: --store URL or NAS_STORE"
        raise StoreError(law("The store", "a database that exists", {"store": name}, remedy))
    if file and not file.absolute().parent.is_dir():
        raise StoreError(law("The store", "a folder that exists", {"store": name}, f"Make it: mkdir -p {file.parent}"))
    try:
        engine = _sqlite(url, file, create=create) if url.get_backend_name() == "sqlite" else create_engine(url)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        remedy = "Install it: `pip install 'psycopg[binary]'` for PostgreSQL"
        raise StoreError(law("The store", "a database driver", {"store": name, "error": str(error)}, remedy)) from error
    try:
        _prepare(engine, name, create=create)
    except BaseException:
        engine.dispose()
        raise
    return engine


def file_of(url: URL) -> Path | None:
    """The file of an SQLite database, or None for a server or a database in memory."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database))


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view of the data.

    Raises:
        StoreError: the database cannot be read.
    """
    with _worded(engine.url), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One short transaction: all of it or nothing.

    Raises:
        StoreError: the database cannot be written.
    """
    with _worded(engine.url), engine.execution_options(nas_writes=True).begin() as connection:
        yield connection


@contextmanager
def _worded(url: URL) -> Iterator[None]:
    """Tell what can happen to any database in our own words; what only a bug can cause keeps its traceback."""
    got = {"store": url.render_as_string(hide_password=True)}
    try:
        yield
    except (ProgrammingError, DataError, NotSupportedError):
        raise
    except IntegrityError as error:
        got["error"] = str(error.orig).strip()
        remedy = "See whether another `nas sweep` runs on the same study"
        raise StoreError(law("A record", "to be new and what it refers to present", got, remedy)) from error
    except DBAPIError as error:
        got["error"] = str(error.orig).strip() or type(error.orig).__name__
        needs = "a database that can be read and written"
        raise StoreError(law("The store", needs, got, "See whether it is locked, full, read-only or away")) from error


def _sqlite(url: URL, file: Path | None, *, create: bool) -> Engine:
    if file and not create and not _writable(file.absolute().parent) and not _waiting(file):
        # Even a reader of a WAL database writes beside it, unless it is told that nobody can.
        url = url.set(database=f"file:{quote(str(file.absolute()))}", query={"immutable": "1", "uri": "true"})
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        connection.execute("PRAGMA foreign_keys = ON")
        if create and file:
            # Readers and the writer do not wait for each other in WAL. It needs shared memory, so on a network file
            # system it can corrupt the file; the rollback journal is slower and safe.
            wal = not is_network(file)
            connection.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
            # With WAL, NORMAL survives every crash of ours; only a power cut can take the last trials with it.
            connection.execute(f"PRAGMA synchronous = {'NORMAL' if wal else 'FULL'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer that begins as a reader cannot be upgraded once another has written: take the lock at once.
        writes = connection.get_execution_options().get("nas_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & os.ST_RDONLY


def _waiting(file: Path) -> bool:
    """Tell whether a write-ahead log holds what is not in the file yet."""
    log = file.with_name(f"{file.name}-wal")
    return log.exists() and log.stat().st_size > 0


def is_network(file: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Tell whether a file lies on a network file system. Where the system does not say (macOS), it does not."""
    if not mounts.exists():
        return False
    folder = file.absolute().parent.resolve()
    found = ""
    longest = -1
    for line in mounts.read_text(errors="replace").splitlines():
        _, place, kind, *_ = line.split(" ")
        point = Path(place.replace("\\040", " "))
        if (folder == point or point in folder.parents) and len(point.parts) >= longest:
            longest, found = len(point.parts), kind
    return found in _NETWORK or found.startswith("fuse.")


def _prepare(engine: Engine, name: str, *, create: bool) -> None:
    try:
        _check(engine, name, create=create)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).strip()
        remedy = "Give another one with --store URL, or see that the server runs and lets you in"
        got = {"store": name, "error": reason}
        raise StoreError(law("The store", "a database that can be opened", got, remedy)) from error


def _check(engine: Engine, name: str, *, create: bool) -> None:
    with engine.connect() as connection:
        present = set(inspect(connection).get_table_names()) & set(schema.metadata.tables)
    if not present and create:
        _make(engine)
    elif "schema" not in present:
        needs = "tables of ours" if present else "results in it"
        remedy = "Run `nas sweep` first" if not present else "Give nas a database of its own with --store URL"
        raise StoreError(law("The store", needs, {"store": name, "tables": sorted(present)}, remedy))
    with engine.connect() as connection:
        found = connection.execute(select(schema.schema.c.version, schema.schema.c.written_by)).one_or_none()
    if found is None or found.version != schema.VERSION:
        raise StoreError(_mismatch(name, found.version if found else None, found.written_by if found else "unknown"))


def _make(engine: Engine) -> None:
    with engine.execution_options(nas_writes=True).begin() as connection:
        # Looked at again under the lock: another driver may have been faster.
        if "schema" in inspect(connection).get_table_names():
            return
        schema.metadata.create_all(connection)
        connection.execute(insert(schema.schema).values(id=1, version=schema.VERSION, written_by=_release()))


def _mismatch(name: str, found: int | None, written_by: str) -> str:
    newer = found is not None and found > schema.VERSION
    remedy = (
        "Update: pip install -U segnas" if newer else f"Read it with segnas {written_by}, or start anew with --store"
    )
    got = {"version": found, "written_by": f"segnas {written_by}", "store": name}
    return law("The store", f"schema version {schema.VERSION}", got, remedy)


def _release() -> str:
    try:
        return version("segnas")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"
