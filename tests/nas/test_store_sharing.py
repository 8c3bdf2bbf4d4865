"""Several programs at one database: a reader, another driver, Optuna, another server than SQLite."""

import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from blocks.errors import StoreError
from nas.store import Store
from nas.store.database import is_network
from runners.protocol import Finished

Make = Callable[..., Any]


def test_sqlite_is_set_up_for_readers_beside_a_writer(store: Store, study_id: int, add: Make) -> None:
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as plain:
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000
    with pytest.raises(StoreError, match="refers to"):
        store.record_provenance(study_id + 1, {})


def test_a_reader_sees_what_is_committed_while_the_driver_writes(store: Store, study_id: int, add: Make) -> None:
    add(store, study_id)
    writer = sqlite3.connect(store.url.removeprefix("sqlite:///"), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE trial SET miou = 0.99")

    with Store.open(store.url, create=False) as reader:
        assert [row["miou"] for row in reader.trials(study_id)] == [0.3]
        writer.execute("COMMIT")
        assert [row["miou"] for row in reader.trials(study_id)] == [0.99]
    writer.close()


def test_two_drivers_share_a_store(store: Store, add: Make) -> None:
    """Both propose the same architectures at the same time; nothing is lost or stored twice."""
    errors: list[BaseException] = []

    def sweep(name: str) -> None:
        try:
            with Store.open(store.url) as own:
                study = own.create_study(name, space="", objectives={"miou": "max"}, budget={}, seed=0)
                for seed in range(15):
                    add(own, study, context=("none", "ppm", "psa")[seed % 3], seed=seed)
        except BaseException as error:
            errors.append(error)

    drivers = [threading.Thread(target=sweep, args=(name,)) for name in ("a", "b")]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()

    assert errors == []
    assert [(row["name"], row["finished"]) for row in store.studies()] in (
        [("a", 15), ("b", 15)],
        [("b", 15), ("a", 15)],
    )
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as plain:
        assert plain.execute("SELECT count(*) FROM architecture").fetchone() == (3,)


SPACE = """
data: {shapes: {size: [32, 32], train: 8, val: 4}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  align: {bilinear: {channels: {int: [8, 64]}}}
training: {epochs: 3, batch: 8}
search: {sampler: random, trials: 8, early_stopping: none}
"""


@pytest.mark.slow
def test_two_sweeps_and_a_reader_share_a_file(tmp_path: Path) -> None:
    """With Optuna's tables being written beside ours by both."""
    (tmp_path / "space.yaml").write_text(SPACE)
    store = tmp_path / "nas.db"
    sweeps = []
    for seed, name in enumerate(("a", "b")):
        words = ["sweep", "space.yaml", "--study", name, "--set", f"search.seed={seed}", "--runner", "local", "--plain"]
        command = [sys.executable, "-m", "nas", *words, "--store", str(store)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        sweeps.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True))
    looks = 0
    while any(process.poll() is None for process in sweeps):
        if store.exists() and store.stat().st_size:
            try:
                with Store.open(str(store), create=False) as reader:
                    for study in reader.studies():
                        looks += len(reader.trials(reader.find_study(study["name"])["id"]))
            except StoreError as error:
                # Looked at before the tables were made.
                assert looks == 0 and "results in it" in str(error), error
    for process in sweeps:
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert "locked" not in said
        assert "not written any more" not in said
    assert looks > 0
    with Store.open(str(store), create=False) as whole:
        assert [(row["trials"], row["finished"]) for row in whole.studies()] == [(8, 8), (8, 8)]
        for name in ("a", "b"):
            trials = whole.trials(whole.find_study(name)["id"])
            assert [len(whole.epochs(row["id"])) for row in trials] == [3] * 8
            assert len(optuna.load_study(study_name=name, storage=whole.url).trials) == 8


def test_two_drivers_make_the_tables_at_once(tmp_path: Path) -> None:
    code = "import sys; from nas.store import Store; Store.open(sys.argv[1]).close()"
    file = str(tmp_path / "nas.db")
    started = [subprocess.Popen([sys.executable, "-c", code, file]) for _ in range(3)]
    assert [process.wait(timeout=60) for process in started] == [0, 0, 0]


def test_what_was_recorded_survives_a_kill(store: Store, study_id: int, add: Make) -> None:
    code = """
import os, signal, sys
from nas.store import Store
store = Store.open(sys.argv[1])
store.create_study("killed", space="", objectives={"miou": "max"}, budget={}, seed=0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, store.url], check=False)
    assert done.returncode == -9
    assert store.study("killed") is not None


@pytest.mark.parametrize("first", ["ours", "optunas"])
def test_optuna_lives_in_the_same_file(tmp_path: Path, add: Make, first: str) -> None:
    url = f"sqlite:///{tmp_path / 'nas.db'}"
    if first == "ours":
        Store.open(url).close()
    storage = optuna.storages.RDBStorage(url)
    guest = optuna.create_study(study_name="camvid", storage=storage, directions=["maximize", "minimize"])

    with Store.open(url) as store:
        study = store.create_study("camvid", space="", objectives={"miou": "max", "macs": "min"}, budget={}, seed=0)
        for number in range(3):
            trial = guest.ask({"width": optuna.distributions.IntDistribution(1, 9)})
            add(store, study, seed=number)
            guest.tell(trial, [0.3, 1e9])

        assert len(store.trials(study)) == 3
    assert [trial.values for trial in guest.get_trials()] == [[0.3, 1e9]] * 3
    with Store.open(url, create=False) as again:
        assert again.studies()[0]["finished"] == 3


def test_a_network_file_system_is_recognised(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\n"
        "server:/home /home nfs4 rw 0 0\n"
        "/dev/sdb1 /home/local xfs rw 0 0\n"
        "sshfs /mnt/my\\040disk fuse.sshfs rw 0 0\n"
    )
    assert is_network(Path("/home/me/nas.db"), mounts)
    assert is_network(Path("/mnt/my disk/nas.db"), mounts)
    assert not is_network(Path("/home/local/nas.db"), mounts)
    assert not is_network(Path("/homely/nas.db"), mounts)
    assert not is_network(Path("/home/me/nas.db"), tmp_path / "absent")


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own on a free port, as an unprivileged user where we are root."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if not all(shutil.which(program) for program in ("initdb", "pg_ctl", "postgres")):
        pytest.skip("no PostgreSQL server is installed")
    user = _server_user()
    folder = Path(tmp_path_factory.mktemp("postgres"))
    (data := folder / "data").mkdir(mode=0o700)
    if user is not None:
        os.chown(data, user.pw_uid, user.pw_gid)
        for parent in (folder, *folder.parents[:3]):
            parent.chmod(parent.stat().st_mode | 0o011)

    def call(*command: str) -> None:
        owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=data, **owner)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    call("initdb", "-D", str(data), "-U", "nas", "-A", "trust", "-E", "UTF8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
    call("pg_ctl", "-D", str(data), "-o", options, "-l", str(data / "log"), "-w", "start")
    yield f"postgresql+psycopg://nas@127.0.0.1:{port}/postgres"
    call("pg_ctl", "-D", str(data), "-m", "immediate", "stop")


def _server_user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("PostgreSQL refuses to run as root and there is no user postgres")


@pytest.mark.slow
def test_a_postgresql_url_works_unchanged(postgres: str, add: Make, epoch_of: Make) -> None:
    with pytest.raises(StoreError, match="results in it"):
        Store.open(postgres, create=False)
    with Store.open(postgres) as store:
        guest = optuna.create_study(storage=optuna.storages.RDBStorage(postgres), study_name="camvid")
        study = store.create_study("camvid", space="", objectives={"miou": "max"}, budget={}, seed=1 << 40)
        store.record_provenance(study, {"dirty": False, "gpus": ["H200"]})
        first = add(store, study, context="ppm", macs=5_000_000_000_000)
        add(store, study, context="none", rate=1e-2)
        waiting = add(store, study, mious=(0.1, float("nan")), outcome=None)
        guest.tell(guest.ask(), 0.5)
        assert store.mark_orphans(study) == 1
        store.requeue(waiting)
        store.epoch(waiting, epoch_of(2, 0.2, log="again"))
        store.end(waiting, Finished())

        rows = store.trials(study)
        assert [row["state"] for row in rows] == ["finished"] * 3
        assert (rows[0]["macs"], rows[0]["created"].tzinfo is not None) == (5_000_000_000_000, True)
        assert store.known(rows[0]["identity"])["id"] == first  # type: ignore[index]
        assert store.studies()[0]["finished"] == 3
        for where, numbers in (
            ("macs > 4e12 and context == 'ppm'", [0]),
            ("context.ppm.channels == 512 or training.learning_rate > 0.005", [0, 1]),
            ("params <= 1e7 and params < 10000000.5", [1, 2]),
            ("not context.ppm.channels >= 512", [1, 2]),
            ("context.ppm.bins in [[1, 2, 3, 6], None]", [0, 1, 2]),
            ("created > '2020-01-01' and error is None and exceeded_value != 3", [0, 1, 2]),
        ):
            assert [row["number"] for row in store.trials(study, where)] == numbers, where
        with pytest.raises(StoreError, match="--resume"):
            store.create_study("camvid", space="", objectives={}, budget={}, seed=0)
