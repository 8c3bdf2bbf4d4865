"""The process behind a `Mirror`: reads trials from its standard input and writes them into Optuna's tables.

Run as a file, not imported: it needs Optuna alone, and starts in a second.
"""

from __future__ import annotations

import os
import pickle
import signal
import sqlite3
import sys
import time
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

import optuna
from optuna.trial import FrozenTrial


def main() -> None:
    """Copy until the input ends; say on the standard output what went wrong, if anything did."""
    # A person who interrupts means the search, which tells us when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    try:
        _copy(sys.stdin.buffer, os.getppid())
    except Exception as error:
        print(error, flush=True)


def _copy(stream: BinaryIO, parent: int) -> None:
    study = _study(*pickle.load(stream))
    copied = {t.user_attrs.get("trial") for t in study.get_trials(deepcopy=False)}
    for trial in _trials(stream):
        if os.getppid() != parent:
            # The search was killed. What is left is copied on resume, perhaps at this moment.
            return
        if (number := trial.user_attrs["trial"]) not in copied:
            study.add_trial(trial)
            copied.add(number)


def _trials(stream: BinaryIO) -> Iterator[FrozenTrial]:
    while True:
        try:
            trial: FrozenTrial | None = pickle.load(stream)
        except EOFError:
            return
        if trial is None:
            return
        yield trial


def _study(url: str, name: str, objectives: dict[str, str]) -> optuna.Study:
    arguments: dict[str, Any] = {"creator": partial(_connected, url)} if url.startswith("sqlite:///") else {}
    for last in (False, False, True):
        try:
            storage = optuna.storages.RDBStorage(url, engine_kwargs=arguments)
            break
        except Exception:
            # Another sweep makes the same tables at this moment: Optuna looks first and then makes them, unlocked.
            if last:
                raise
            time.sleep(1)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=["maximize" if goal == "max" else "minimize" for goal in objectives.values()],
        load_if_exists=True,
    )
    study.set_metric_names(list(objectives))
    return study


def _connected(url: str) -> sqlite3.Connection:
    """A connection that waits for other people's short writes, and does not make them wait for the disk."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60, check_same_thread=False)
    if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
        # Then only a power cut can lose what is copied here, and --resume copies it again.
        connection.execute("PRAGMA synchronous = NORMAL")
    return connection


if __name__ == "__main__":
    main()
