"""Where a sweep stands: what a terminal shows while it runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from runners.protocol import Epoch, Finished, Outcome, Paused, Proposal, Rejected, Stopped


@dataclass(slots=True)
class Running:
    """A trial in hand."""

    proposal: Proposal
    epoch: int = 0
    miou: float | None = None


@dataclass(slots=True)
class Progress:
    """Counts, running trials and results so far; written by the proposer, read by whoever shows it.

    Args:
        planned: trials that the sweep is to end with. [count]
        possible: networks that there are in the space, where that is known. [count]
        say: called with one line for each thing that happens.
        repeats: known networks that the sampler proposed. [count]
        ending: why the sweep ended before its trials were used up, where it did.
    """

    planned: int
    say: Callable[[str], None] = lambda line: None
    counts: Counter[str] = field(default_factory=Counter)
    running: dict[int, Running] = field(default_factory=dict)
    points: list[dict[str, float]] = field(default_factory=list)
    repeats: int = 0
    ending: str = ""
    possible: int | None = None
    began: float = field(default_factory=time.monotonic)
    _carried: int = 0

    @property
    def done(self) -> int:
        """Trials that count towards the plan and have ended. [count]"""
        return sum(self.counts[state] for state in ("finished", "stopped", "paused", "failed", "replayed"))

    @property
    def goal(self) -> int:
        """Trials that the sweep can end with: a small space holds fewer than planned. [count]"""
        return self.planned if self.possible is None else min(self.planned, self.possible)

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the pace so far, or None before anything has ended. [s]"""
        ended = self.done - self._carried
        if ended <= 0:
            return None
        return (time.monotonic() - self.began) / ended * max(0, self.goal - self.done)

    def carry(self, counts: Counter[str]) -> None:
        """Take over what an earlier run of this study has done."""
        self.counts.update(counts)
        self._carried = self.done

    def end_early(self, reason: str) -> None:
        """The sweep ends before its trials are used up."""
        if not self.ending:
            self.ending = reason
            self.say(reason)

    def start(self, proposal: Proposal) -> None:
        """A network goes into training."""
        self.running[proposal.trial] = Running(proposal, proposal.done)
        if proposal.parent is not None and not proposal.done:
            self.say(f"trial {proposal.trial}: begins with the weights of trial {proposal.parent.trial}")

    def resume(self, state: str) -> None:
        """A trial that was counted as ended in this state has not."""
        self.counts[state] -= 1

    def epoch(self, trial: int, epoch: Epoch) -> None:
        """An epoch of a running trial is recorded."""
        row = self.running[trial]
        row.epoch, row.miou = epoch.epoch, epoch.miou
        planned = row.proposal.epochs
        self.say(f"trial {trial}: epoch {epoch.epoch}/{planned}, mIoU {epoch.miou:.4f}, {epoch.seconds:.1f} s")

    def end(self, trial: int, state: str, outcome: Outcome | None = None, note: str = "") -> None:
        """A trial has ended, trained or not."""
        row = self.running.pop(trial, None)
        self.counts[state] += 1
        detail = f", mIoU {row.miou:.4f}" if row is not None and row.miou is not None else ""
        self.say(f"trial {trial}: {state}{detail}{_why(outcome)}{f' ({note})' if note else ''}")

    def result(self, trial: int, values: dict[str, float]) -> None:
        """Final values of a trial: a row for the front so far."""
        self.points.append({"number": trial, **values})


def _why(outcome: Outcome | None) -> str:
    match outcome:
        case Rejected(limit=limit, value=value, allowed=allowed):
            return f", {limit} {value:.4g} over the limit of {allowed:.4g}"
        case Stopped(rung=rung) | Paused(rung=rung):
            return f" after epoch {rung}"
        case None | Finished():
            return ""
        case _:
            return f": {getattr(outcome, 'reason', 'the sweep ended first')}"
