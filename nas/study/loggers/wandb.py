"""Weights & Biases: a project per study, a run per trial, through its own library.

`WANDB_MODE=offline` needs no account.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import wandb

from blocks.errors import RunError, law
from nas.study.loggers.logbook import Run


class WeightsAndBiases:
    """Logs to `WANDB_PROJECT`, by default the study's name; a trial that goes on continues its run.

    Args:
        study: its name.

    Raises:
        RunError: nobody is logged in, and the mode is not offline.
    """

    name = "Weights & Biases"

    def __init__(self, study: str) -> None:
        if os.environ.get("WANDB_MODE", "online") == "online" and not wandb.api.api_key:
            remedy = "Run `wandb login`, or set WANDB_MODE=offline"
            raise RunError(law("--log wandb", "an account", {"logged_in": False}, remedy))
        self._study = study
        self._runs: dict[int, Any] = {}

    def begin(self, run: Run) -> None:
        """Make its run, or go on with the one that it has."""
        if run.trial in self._runs:
            return
        self._runs[run.trial] = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or _allowed(self._study),
            group=self._study,
            name=f"{self._study} {run.trial}",
            id=_allowed(f"{self._study}-{run.trial}"),
            config={**run.settings, **run.costs},
            resume="allow",
            # Several trials are in training at once.
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
        )

    def epoch(self, trial: int, epoch: int, figures: Mapping[str, float]) -> None:
        """One point per figure."""
        self._runs[trial].log(dict(figures), step=epoch)

    def end(self, run: Run, outcome: str, figures: Mapping[str, float]) -> None:
        """Close its run."""
        ended = self._runs.pop(run.trial)
        ended.summary["outcome"] = outcome
        ended.finish(exit_code=0 if outcome in ("Finished", "Stopped") else 1)

    def close(self) -> None:
        """Close what is left: trials that wait at a rung."""
        for run in self._runs.values():
            run.finish()
        self._runs.clear()


def _allowed(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
