"""From a space to what a runner is told of it."""

from __future__ import annotations

from pathlib import Path

from blocks.options import supplied
from nas.space import Space
from runners.data import DATASETS, DataInfo, dataset
from runners.protocol import Work


def work_of(space: Space, folder: Path) -> Work:
    """What a runner is told of a space."""
    return Work(
        # Workers have other working folders.
        place={name: str(Path(path).absolute()) for name, path in space.places().items()},
        folder=folder.absolute(),
        cpu=space.resources.cpu,
        gpu=space.resources.gpus,
        pack=space.resources.gpu == "auto",
        gpu_bytes=space.resources.gpu_bytes,
        loaders=space.resources.loaders,
        keep=space.resources.keep,
        halving=space.search.early_stopping,
        objectives=space.objectives,
        concurrent=space.resources.concurrent,
        checkpoint_minutes=space.resources.checkpoint_minutes,
        trial_seconds=_seconds(space.resources.trial_minutes),
        stalled_seconds=_seconds(space.resources.stalled_minutes),
        weights=space.weights_file(),
    )


def _seconds(minutes: float | None) -> float | None:
    return None if minutes is None else minutes * 60


def info_of(space: Space) -> DataInfo:
    """What is known of a space's data set from its options alone, wherever it lies and whether or not it does."""
    return dataset(space.data, dict.fromkeys(supplied(DATASETS[space.data.name]), "nowhere")).info
