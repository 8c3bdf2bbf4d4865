"""A sweep while it runs: a picture that refreshes on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nas.analysis.fronts import front
from nas.report.tables import human

if TYPE_CHECKING:
    from rich.console import Group

    from nas.propose import Progress

_STATES = ("finished", "stopped", "paused", "rejected", "replayed", "skipped", "failed")
_SHOWN = 8  # rows of the front; a terminal has few lines


@contextmanager
def shown(progress: Progress, objectives: Mapping[str, str], *, plain: bool | None = None) -> Iterator[None]:
    """Show a sweep's progress until the block ends.

    Args:
        progress: filled by the proposer while the block runs.
        objectives: name -> `max` or `min`: of the best front so far.
        plain: lines instead of a picture; by default where standard error is no terminal.
    """
    if plain or (plain is None and not sys.stderr.isatty()):
        progress.say = lambda line: print(f"{line}  [{_standing(progress)}]", file=sys.stderr, flush=True)
        yield
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    latest: deque[str] = deque(maxlen=2)
    progress.say = latest.append
    with Live(get_renderable=lambda: _picture(progress, objectives, latest), console=console, refresh_per_second=4):
        yield


def counted(numbers: Iterable[int]) -> Iterator[int]:
    """Draw a bar while the samples of a split are gone through."""
    from rich.console import Console
    from rich.progress import track

    console, quiet = Console(stderr=True), not sys.stderr.isatty()
    yield from track(numbers, "Judging", console=console, transient=True, disable=quiet)


def _standing(progress: Progress) -> str:
    counts = [f"{progress.counts[state]} {state}" for state in _STATES if progress.counts[state]]
    left = progress.seconds_left
    time_left = [] if left is None else [f"about {_duration(left)} left"]
    done = f"{progress.done}/{progress.goal} done"
    return ", ".join([done, f"{len(progress.running)} running", *counts, *time_left])


def _picture(progress: Progress, objectives: Mapping[str, str], latest: Sequence[str]) -> Group:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    running = Table(box=None, pad_edge=False)
    for heading in ("running", "epoch", "mIoU", "network"):
        running.add_column(heading, overflow="ellipsis", no_wrap=True)
    for trial, row in sorted(progress.running.copy().items()):
        miou = "" if row.miou is None else f"{row.miou:.4f}"
        running.add_row(
            f"trial {trial}", f"{row.epoch}/{row.proposal.epochs}", miou, row.proposal.architecture.summary()
        )
    best = Table(box=None, pad_edge=False)
    for heading in ("front", *objectives):
        best.add_column(heading, justify="right")
    for point in front(progress.points.copy(), objectives, states=None)[:_SHOWN]:
        best.add_row(f"trial {point['number']}", *(human(name, point[name]) for name in objectives))
    standing = Table.grid(padding=(0, 1))
    standing.add_row(ProgressBar(total=progress.goal, completed=progress.done, width=30), Text(_standing(progress)))
    return Group(standing, running, best, Text("\n".join(latest), style="dim"))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
