"""Copy every told trial into Optuna's own tables, so that `optuna-dashboard URL` shows the study.

Optuna's relational storage takes some 100 ms a trial: a thread of its own does it, and the search never waits.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import warnings
from collections.abc import Mapping

import optuna
from optuna.trial import FrozenTrial

_log = logging.getLogger("nas")


class Mirror:
    """A queue and the thread that empties it into `url`.

    Args:
        url: of the store; Optuna keeps its tables beside ours.
        study: its name there.
        objectives: name -> `max` or `min`.
    """

    def __init__(self, url: str, study: str, objectives: Mapping[str, str]) -> None:
        self._url = url
        self._study = study
        self._objectives = dict(objectives)
        self._queue: queue.SimpleQueue[FrozenTrial | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="optuna-mirror", daemon=True)
        self._thread.start()

    def add(self, trial: FrozenTrial) -> None:
        """Have a trial copied, soon; one that is there already is left alone."""
        self._queue.put(trial)

    def close(self) -> None:
        """Wait until everything is copied."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            # At once, while workers are still starting: it takes half a second.
            study = self._open()
            copied = {t.user_attrs.get("trial") for t in study.get_trials(deepcopy=False)}
            while (trial := self._queue.get()) is not None:
                if (number := trial.user_attrs["trial"]) not in copied:
                    study.add_trial(trial)
                    copied.add(number)
        except Exception as error:
            # The dashboard is a convenience; the search does not end for it, and --resume copies what is missing.
            _log.warning("Optuna's tables are not written any more: %s", error)

    def _open(self) -> optuna.Study:
        # The storage waits for our own short writes instead of failing on a locked file.
        arguments = {"connect_args": {"timeout": 60}} if self._url.startswith("sqlite") else {}
        for last in (False, False, True):
            try:
                storage = optuna.storages.RDBStorage(self._url, engine_kwargs=arguments)
                break
            except Exception:
                # Another sweep makes the same tables at this moment: Optuna looks first and then makes them, unlocked.
                if last:
                    raise
                time.sleep(1)
        study = optuna.create_study(
            storage=storage,
            study_name=self._study,
            directions=["maximize" if goal == "max" else "minimize" for goal in self._objectives.values()],
            load_if_exists=True,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(self._objectives))
        return study
