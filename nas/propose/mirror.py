"""Copy every told trial into Optuna's own tables, so that `optuna-dashboard URL` shows the study.

Optuna's relational storage computes some 20 ms a trial and waits for the disk: a process of its own does it. The search
waits for it only where both write to one SQLite file at the same moment.
"""

from __future__ import annotations

import logging
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from optuna.trial import FrozenTrial

_log = logging.getLogger("nas")
_COPIER = Path(__file__).with_name("mirrored.py")


class Mirror:
    """A process that writes into `url`, and the queue in front of it.

    Args:
        url: of the store; Optuna keeps its tables beside ours.
        study: its name there.
        objectives: name -> `max` or `min`.
    """

    def __init__(self, url: str, study: str, objectives: Mapping[str, str]) -> None:
        # -P: the folder of that file is not where modules are looked for.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_COPIER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._queue: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._queue.put((url, study, dict(objectives)))
        # A pipe holds little: what does not fit waits here, not in the search.
        self._thread = threading.Thread(target=self._send, name="optuna-mirror", daemon=True)
        self._thread.start()

    def add(self, trial: FrozenTrial) -> None:
        """Have a trial copied, soon; one that is there already is left alone."""
        self._queue.put(trial)

    def close(self) -> None:
        """Wait until everything is copied."""
        self._queue.put(None)
        self._thread.join()
        said, _ = self._process.communicate()
        if said:
            # The dashboard is a convenience; the search does not end for it, and --resume copies what is missing.
            _log.warning("Optuna's tables were not written to the end: %s", said.decode(errors="replace").strip())

    def _send(self) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        try:
            while True:
                item = self._queue.get()
                pickle.dump(item, pipe)
                pipe.flush()
                if item is None:
                    return
        except OSError:
            return  # it has ended before us, and says why when we close
