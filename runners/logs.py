"""What a trial logged and warned, as text to record with it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

MOST = 20_000
"""Characters that are kept of a log: its end, where the trouble is."""


class Collected(logging.Handler):
    """Keeps the last lines of a log."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        self._text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self._text = f"{self._text}{self.format(record)}\n"[-MOST:]

    def take(self) -> str:
        """Return what was collected and begin anew."""
        taken, self._text = self._text, ""
        return taken


@contextmanager
def collecting(into: Collected) -> Iterator[None]:
    """Collect what the logger `nas` and `warnings` say; when an error passes, it takes the log along as a note.

    Never to be held open across a `yield` of a generator: filters and handlers would leak to whoever resumes it.
    """
    logger = logging.getLogger("nas")
    level = logger.level
    logger.addHandler(into)
    logger.setLevel(min(level, logging.INFO) if level else logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _log_warning
            yield
    except Exception as error:
        if text := into.take():
            error.add_note(text)
        raise
    finally:
        logger.removeHandler(into)
        logger.setLevel(level)


def _log_warning(  # noqa: PLR0917  # the signature is that of `warnings.showwarning`
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    logging.getLogger("nas").warning("%s: %s (%s:%d)", category.__name__, message, Path(filename).name, lineno)
