"""What the sampler knows: Optuna's study in memory, rebuilt from the store and told of every outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.samplers import NSGAIIISampler, NSGAIISampler

from nas.propose.feedback import attributes, feedback
from nas.propose.mirror import Mirror
from nas.propose.progress import Progress
from nas.propose.samplers import distribution, parameters, sampler
from nas.space import Space
from nas.space.samplers import settled

FINAL = ("finished", "replayed")


class Memory:
    """Optuna's study of one sweep. Its own storage would cost 100 ms a trial; the store is what lasts.

    Args:
        space: the questions, the objectives and the sampler.
        told: what earlier runs of this study have recorded, as the store lists it.
        progress: takes final results; their means stand in for what nobody could measure.
        mirror: copies told trials to Optuna's tables, or None.
    """

    def __init__(
        self, space: Space, told: Iterable[Mapping[str, Any]], progress: Progress, mirror: Mirror | None
    ) -> None:
        self._objectives = space.objectives
        self._progress = progress
        self._mirror = mirror
        rows = list(told)
        for row in rows:
            self._result(row)
        self._distributions = {question.path: distribution(question) for question in space.questions()}
        # A resumed sampler must not draw the same numbers again.
        self.study = optuna.create_study(
            directions=["maximize" if goal == "max" else "minimize" for goal in self._objectives.values()],
            sampler=sampler(settled(space.search.sampler, space.search.trials), space.search.seed + len(rows)),
        )
        self._rebuild(rows)

    def tell(self, trial: optuna.Trial, row: Mapping[str, Any]) -> None:
        """Tell an outcome that is recorded."""
        self._result(row)
        for name, value in attributes(row).items():
            trial.set_user_attr(name, value)
        self._copy(row, feedback(row, self._objectives, assumed=self._assumed()).tell(self.study, trial))

    def tell_again(self, trial: optuna.Trial, row: Mapping[str, Any]) -> None:
        """The sampler proposed a network that this study has: it hears what is recorded of it so far."""
        feedback(row, self._objectives, assumed=self._assumed()).tell(self.study, trial)

    def settle(self, row: Mapping[str, Any]) -> None:
        """A paused trial has ended: the sampler has heard of it, the dashboard has not."""
        self._copy(row, self._frozen(row, {}))

    def drop(self, trial: optuna.Trial) -> None:
        """Close a trial without an outcome: it was interrupted and will be proposed again, or could not be made."""
        self.study.tell(trial, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)

    def _rebuild(self, rows: Iterable[Mapping[str, Any]]) -> None:
        complete = 0
        for row in rows:
            frozen = self._frozen(row, generation(self.study.sampler, complete))
            complete += frozen.values is not None
            self.study.add_trial(frozen)
            self._copy(row, frozen)

    def _frozen(self, row: Mapping[str, Any], system: Mapping[str, Any]) -> optuna.trial.FrozenTrial:
        params = {path: v for path, v in parameters(row["answers"]).items() if path in self._distributions}
        asked = {path: self._distributions[path] for path in params}
        found = feedback(row, self._objectives, assumed=self._assumed())
        return found.frozen(params, asked, attributes(row), system if found.values is not None else {})

    def _result(self, row: Mapping[str, Any]) -> None:
        if row["state"] in FINAL:
            self._progress.result(row["number"], {name: row[name] for name in self._objectives})

    def _assumed(self) -> dict[str, float]:
        """Means of the final results so far: what a model may assume of a network that was never trained."""
        points = self._progress.points
        return {n: sum(p[n] for p in points) / len(points) for n in self._objectives} if points else {}

    def _copy(self, row: Mapping[str, Any], frozen: optuna.trial.FrozenTrial) -> None:
        # The dashboard's copy cannot be changed: it waits for how a paused trial ends.
        if self._mirror is not None and row["state"] != "paused":
            self._mirror.add(frozen)


def generation(kind: optuna.samplers.BaseSampler, index: int) -> dict[str, Any]:
    """The generation that the trial at `index` belongs to, as the sampler's mark on it.

    Optuna notes it as it proposes; trials that are added without the mark are in no population, and an evolution that
    goes on after a restart would begin with random networks again.
    """
    if not isinstance(kind, NSGAIISampler | NSGAIIISampler) or kind.population_size is None:
        return {}
    return {f"{type(kind).__name__}:generation": index // kind.population_size}
