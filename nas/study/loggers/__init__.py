"""Curves for other people's tools, on request: TensorBoard, MLflow, Weights & Biases.

The store stays the memory; a logger hears what was recorded and can fail without anyone's harm.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from blocks.errors import RunError, law, nearest
from nas.study.loggers.logbook import Logbook, Logged, Logger

LoggerName = Literal["mlflow", "wandb"]

_PACKAGES = {"mlflow": "mlflow", "wandb": "wandb", "tensorboard": "tensorboard"}

__all__ = ["Logbook", "Logged", "Logger", "LoggerName", "loggers"]


def loggers(study: str, names: Sequence[str], tensorboard: str | Path | None) -> list[Logger]:
    """Make the loggers that were asked for, before anything is trained.

    Args:
        study: its name.
        names: some of `LoggerName`.
        tensorboard: the folder for TensorBoard's event files, or None.

    Raises:
        RunError: there is no such logger, its package is not installed, or it has no account to log to.
    """
    for name in (*names, *(["tensorboard"] if tensorboard is not None else [])):
        if name not in (*get_args(LoggerName), "tensorboard"):
            known = get_args(LoggerName)
            raise RunError(law("--log", "one of " + ", ".join(known), {"log": name}, nearest(name, known)))
        if importlib.util.find_spec(_PACKAGES[name]) is None:
            flag = "--tensorboard" if name == "tensorboard" else f"--log {name}"
            remedy = f"pip install 'segnas[{name}]'"
            raise RunError(law(flag, f"the package {_PACKAGES[name]}", {"installed": False}, remedy))
    made: list[Logger] = []
    # Each is imported only where it is asked for: they take seconds, and few people have them all.
    if tensorboard is not None:
        from nas.study.loggers.tensorboard import TensorBoard

        made.append(TensorBoard(Path(tensorboard) / study))
    if "mlflow" in names:
        from nas.study.loggers.mlflow import MLflow

        made.append(MLflow(study))
    if "wandb" in names:
        from nas.study.loggers.wandb import WeightsAndBiases

        made.append(WeightsAndBiases(study))
    return made
