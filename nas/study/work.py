"""From a space to what a runner is told of it."""

from __future__ import annotations

from pathlib import Path

from nas.space import Space
from runners.protocol import Work


def work_of(space: Space, folder: Path) -> Work:
    """What a runner is told of a space."""
    return Work(
        # Workers have other working folders.
        place={name: str(Path(path).absolute()) for name, path in space.places().items()},
        folder=folder.absolute(),
        cpu=space.resources.cpu,
        gpu=space.resources.gpu,
        loaders=space.resources.loaders,
        keep=space.resources.keep,
        halving=space.search.early_stopping,
        objectives=space.objectives,
        concurrent=space.resources.concurrent,
        trial_seconds=_seconds(space.resources.trial_minutes),
        stalled_seconds=_seconds(space.resources.stalled_minutes),
    )


def _seconds(minutes: float | None) -> float | None:
    return None if minutes is None else minutes * 60
