"""TensorBoard: a folder of event files per trial, scalars per epoch and its choices as hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from nas.study.loggers.logbook import Run


class TensorBoard:
    """Writes `FOLDER/000012` for trial 12, with PyTorch's own writer.

    Args:
        folder: of the study.
    """

    name = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[int, SummaryWriter] = {}

    def begin(self, run: Run) -> None:
        """Open its folder; one that goes on adds a file there."""
        if run.trial not in self._writers:
            self._writers[run.trial] = SummaryWriter(str(self._folder / f"{run.trial:06d}"))

    def epoch(self, trial: int, epoch: int, figures: Mapping[str, float]) -> None:
        """One point per figure; on disk at once, so that a sweep can be watched."""
        writer = self._writers[trial]
        for name, value in figures.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    def end(self, run: Run, outcome: str, figures: Mapping[str, float]) -> None:
        """Its row in the table of hyperparameters."""
        writer = self._writers.pop(run.trial)
        metrics = {f"final/{name}": value for name, value in {**run.costs, **figures}.items()}
        settings = {**run.settings, "outcome": outcome}
        writer.add_hparams(settings, metrics, run_name=".")
        writer.close()

    def close(self) -> None:
        """Close what is left: trials that wait at a rung."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
