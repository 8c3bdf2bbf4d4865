"""What loggers hear, and how: in a thread of their own, so that neither pace nor failure of theirs reaches a sweep."""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self
from typing import Protocol as Interface

from nas.store import as_text, choices_of
from runners.protocol import Epoch, Outcome, Paused, Proposal
from runners.roles import Resuming

Plain = bool | int | float | str

_FIGURES: Final = ("loss", "miou", "pixel_accuracy", "learning_rate", "seconds")
_PATIENCE: Final = 120.0  # for what is still to be logged when a sweep has ended [s]
_log = logging.getLogger("nas")


@dataclass(frozen=True, slots=True)
class Run:
    """One trial as a logger sees it.

    Args:
        trial: its number in its study.
        settings: what was chosen, option path -> plain value, the seed too.
        costs: that are known before the first epoch, e.g. `{"macs": 1.2e9}`.
    """

    trial: int
    settings: Mapping[str, Plain]
    costs: Mapping[str, float]

    @classmethod
    def of(cls, proposal: Proposal) -> Self:
        """The run of a proposal."""
        chosen = choices_of(proposal.architecture, proposal.protocol)
        plain = {path: v if isinstance(v, bool | int | float) else (as_text(v) or "none") for path, v in chosen.items()}
        return cls(proposal.trial, {**plain, "seed": proposal.seed}, dict(proposal.known))


class Logger(Interface):
    """Writes curves somewhere. Called from one thread; whatever it raises ends its logging and nothing else."""

    name: str

    def begin(self, run: Run) -> None:
        """A trial goes into training, for the first time or again."""

    def epoch(self, trial: int, epoch: int, figures: Mapping[str, float]) -> None:
        """An epoch was recorded: loss, miou, pixel_accuracy, learning_rate, seconds, as far as they are finite."""

    def end(self, run: Run, outcome: str, figures: Mapping[str, float]) -> None:
        """It ended: `Finished`, `Stopped`, `Failed`, ...; the figures are those of its last epoch, if any."""

    def close(self) -> None:
        """The sweep has ended."""


class Logbook:
    """Passes what happens to loggers, in order, in a thread of their own.

    Args:
        loggers: who hears; one that raises is warned of once and hears no more.
    """

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self._loggers = list(loggers)
        self._queue: queue.SimpleQueue[Callable[[Logger], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="loggers", daemon=True)
        self._thread.start()

    def tell(self, what: Callable[[Logger], None]) -> None:
        """Have every logger called with it, soon."""
        self._queue.put(what)

    def close(self) -> None:
        """Wait until everything is logged, but not for ever."""
        self.tell(lambda logger: logger.close())
        self._queue.put(None)
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            names = ", ".join(logger.name for logger in self._loggers)
            _log.warning("%s: gave up waiting after %.0f s; the last figures may be missing there", names, _PATIENCE)

    def _work(self) -> None:
        while (what := self._queue.get()) is not None:
            for logger in list(self._loggers):
                try:
                    what(logger)
                except Exception as error:
                    # The store has everything; the search does not end for a dashboard.
                    self._loggers.remove(logger)
                    _log.warning("%s does not log any more: %s: %s", logger.name, type(error).__name__, error)


class Logged:
    """A proposer around another one that tells a logbook what is proposed, trained and ended."""

    def __init__(self, inner: Resuming, logbook: Logbook) -> None:
        self._inner = inner
        self._logbook = logbook
        self._runs: dict[int, Run] = {}
        self._last: dict[int, dict[str, float]] = {}

    def propose(self) -> Proposal | None:
        """As the inner one."""
        return self._begun(self._inner.propose())

    def over(self) -> bool:
        """As the inner one."""
        return self._inner.over()

    def left_over(self) -> Proposal | None:
        """As the inner one."""
        return self._begun(self._inner.left_over())

    def again(self, trial: int) -> Proposal | None:
        """As the inner one."""
        return self._begun(self._inner.again(trial))

    def started(self, trial: int, *, host: str, device: str) -> None:
        """As the inner one."""
        self._inner.started(trial, host=host, device=device)

    def epoch(self, trial: int, epoch: Epoch) -> None:
        """Tell the inner one first: what is logged has been recorded."""
        self._inner.epoch(trial, epoch)
        found = {name: float(getattr(epoch, name)) for name in _FIGURES}
        figures = {name: value for name, value in found.items() if math.isfinite(value)}
        self._last[trial] = figures
        self._logbook.tell(lambda logger: logger.epoch(trial, epoch.epoch, figures))

    def retried(self, trial: int, reason: str) -> None:
        """As the inner one."""
        self._inner.retried(trial, reason)

    def ended(self, trial: int, outcome: Outcome) -> None:
        """Tell the inner one, and the loggers unless it only waits."""
        self._inner.ended(trial, outcome)
        if isinstance(outcome, Paused) or trial not in self._runs:
            return
        run, figures = self._runs.pop(trial), self._last.pop(trial, {})
        self._logbook.tell(lambda logger: logger.end(run, type(outcome).__name__, figures))

    def _begun(self, proposal: Proposal | None) -> Proposal | None:
        if proposal is not None:
            run = self._runs[proposal.trial] = Run.of(proposal)
            self._logbook.tell(lambda logger: logger.begin(run))
        return proposal
