"""MLflow: an experiment per study, a run per trial, through its own client. `MLFLOW_TRACKING_URI` says where."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from nas.study.loggers.logbook import Run

_STATUS: Final = {"Finished": "FINISHED", "Stopped": "FINISHED", "Failed": "FAILED", "Rejected": "FAILED"}
_LONGEST: Final = 500  # characters of a parameter that every server takes


class MLflow:
    """Logs to the experiment of the study's name; a trial that goes on finds its run by its number.

    Args:
        study: its name.
    """

    name = "MLflow"

    def __init__(self, study: str) -> None:
        self._study = study
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._runs: dict[int, str] = {}

    def begin(self, run: Run) -> None:
        """Make its run, or open the one that it has."""
        if run.trial in self._runs:
            return
        client = self._connected()
        found = client.search_runs([self._experiment], f"tags.nas_trial = '{run.trial}'", max_results=1)
        if found:
            self._runs[run.trial] = found[0].info.run_id
            client.update_run(found[0].info.run_id, status="RUNNING")
            return
        tags = {"nas_trial": str(run.trial), "nas_study": self._study}
        made = client.create_run(self._experiment, run_name=f"{self._study} {run.trial}", tags=tags)
        self._runs[run.trial] = made.info.run_id
        params = [Param(path, str(value)[:_LONGEST]) for path, value in run.settings.items()]
        client.log_batch(made.info.run_id, metrics=_metrics(run.costs, 0), params=params)

    def epoch(self, trial: int, epoch: int, figures: Mapping[str, float]) -> None:
        """One point per figure."""
        self._connected().log_batch(self._runs[trial], metrics=_metrics(figures, epoch))

    def end(self, run: Run, outcome: str, figures: Mapping[str, float]) -> None:
        """Close its run."""
        client, run_id = self._connected(), self._runs.pop(run.trial)
        client.set_tag(run_id, "nas_outcome", outcome)
        client.set_terminated(run_id, _STATUS.get(outcome, "KILLED"))

    def close(self) -> None:
        """Close what is left: trials that wait at a rung."""
        for run_id in self._runs.values():
            self._connected().set_terminated(run_id, "KILLED")
        self._runs.clear()

    def _connected(self) -> MlflowClient:
        # At the first trial, in the logbook's thread: a server that does not answer must not hold up the sweep.
        if self._client is None:
            client = MlflowClient()
            known = client.get_experiment_by_name(self._study)
            self._experiment = known.experiment_id if known else client.create_experiment(self._study)
            self._client = client
        return self._client


def _metrics(figures: Mapping[str, float], step: int) -> list[Metric]:
    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, step) for name, value in figures.items()]
