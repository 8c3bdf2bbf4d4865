"""The searches that `benchmarks/search.py` compares: what others offer as it comes, and ours."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import optuna

from blocks.architecture import Component
from blocks.options import complete
from nas.propose.candidates import protocol_of
from nas.propose.samplers import ask, parameters
from nas.space import SAMPLERS, Forbidden, Space
from nas.study.simulation import Landscape, Simulation, replayed, simulate
from nas.study.work import info_of
from runners.halving import ParetoHalving
from runners.protocol import Epoch, Finished, Halving, Outcome, Proposal, Stopped
from runners.roles import Stopper


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A search to be carried out.

    Args:
        space: what may vary.
        landscape: where curves and costs come from.
        seed: of the sampler.
        epochs: of all trials together. [count]
        schedule: epochs of one trial. [count]
    """

    space: Space
    landscape: Landscape
    seed: int
    epochs: int
    schedule: int


Strategy = Callable[[Task], Simulation]

WORKERS = 4
TRUST = 0.5
MANY = 100_000  # trials: the epochs end a search, not these


class PlainOptuna:
    """Optuna's ask and tell as its documentation shows it: final values, duplicates trained again, no early stopping.

    Args:
        space: what may vary.
        landscape: where costs come from.
        sampler: Optuna's.
    """

    def __init__(self, space: Space, landscape: Landscape, sampler: optuna.samplers.BaseSampler) -> None:
        self._space, self._landscape = space, landscape
        directions = ["maximize" if goal == "max" else "minimize" for goal in space.objectives.values()]
        self._study = optuna.create_study(directions=directions, sampler=sampler)
        self._info = info_of(space)
        self._chance = random.Random(0)
        self._open: dict[int, tuple[optuna.Trial, Mapping[str, Any]]] = {}
        self._values: dict[int, Epoch] = {}

    def over(self) -> bool:
        """Never: the runner counts the epochs."""
        return False

    def retried(self, trial: int, reason: str) -> None:
        """No worker is lost in a simulation."""

    def propose(self) -> Proposal | None:
        """Ask."""
        trial = self._study.ask()
        try:
            candidate = self._space.choose(partial(ask, trial))
        except Forbidden:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return self.propose()
        protocol = protocol_of(self._space, candidate, self._info, "simulated")
        known = self._landscape.cost(candidate.architecture, protocol)
        if known is None:
            # Nothing is recorded of it. A failure teaches these samplers nothing, so that some would insist for ever.
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            self._study.enqueue_trial(parameters(self._space.sample(self._chance).answers))
            return self.propose()
        self._open[trial.number] = trial, known
        return Proposal(
            trial=trial.number, architecture=candidate.architecture, protocol=protocol, seed=0, known=dict(known)
        )

    def started(self, trial: int, *, host: str, device: str) -> None:
        """Nothing to do."""

    def epoch(self, trial: int, epoch: Epoch) -> None:
        """Keep the last one."""
        self._values[trial] = epoch

    def ended(self, trial: int, outcome: Outcome) -> None:
        """Tell."""
        asked, known = self._open.pop(trial)
        if isinstance(outcome, Finished):
            row = {"miou": self._values[trial].miou, **known}
            self._study.tell(asked, [row[name] for name in self._space.objectives])
        else:
            self._study.tell(asked, state=optuna.trial.TrialState.FAIL)


class Moasha:
    """Syne Tune's MOASHA as it is published, behind our interface for early stopping.

    Args:
        epochs: of the full schedule. [count]
        grace: as ours. [count]
        eta: as ours.
        seed: of its brackets.
    """

    def __init__(self, epochs: int, grace: int, eta: int, seed: int) -> None:
        from syne_tune.backend.trial_status import Trial
        from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

        self._trial = Trial
        self._scheduler = MOASHA(
            config_space={},
            metrics=["error", "macs"],
            time_attr="epoch",
            max_t=epochs,
            grace_period=grace,
            reduction_factor=eta,
            random_seed=seed,
        )

    def goes_on(self, proposal: Proposal, epoch: Epoch) -> bool:
        """Report as its backends do."""
        if epoch.epoch == proposal.epochs:
            return True
        trial = self._trial(trial_id=proposal.trial, config={}, creation_time=datetime.now())
        if epoch.epoch == 1:
            self._scheduler.on_trial_add(trial)
        result = {"epoch": epoch.epoch, "error": 1.0 - epoch.miou, "macs": float(proposal.known["macs"])}
        return str(self._scheduler.on_trial_result(trial, result)) != "STOP"

    def stopped(self, proposal: Proposal, epoch: Epoch) -> Stopped:
        """It does not say how far a trial was."""
        return Stopped(rung=epoch.epoch, missing=1.0 - epoch.epoch / proposal.epochs)


def strategies(samplers: list[str], grace: int, eta: int) -> dict[str, Strategy]:
    """Every search by its name; the first is what the others are compared with."""
    found: dict[str, Strategy] = {
        "Optuna NSGA-II": partial(_plain, lambda seed: optuna.samplers.NSGAIISampler(seed=seed)),
        "Optuna TPE": partial(_plain, lambda seed: optuna.samplers.TPESampler(seed=seed)),
    }
    found |= {f"{name}, no stopping": partial(_ours, name, None) for name in samplers}
    found["random, ASHA on mIoU alone"] = partial(_asha, grace, eta)
    if has_syne_tune():
        found["random, Syne Tune MOASHA"] = partial(_moasha, grace, eta)
    stopping = Halving(grace=grace, eta=eta)
    found |= {f"{name}, pareto_asha": partial(_ours, name, stopping) for name in samplers}
    trusting = Halving(grace=grace, eta=eta, trust=TRUST)
    found |= {f"{name}, pareto_asha, trust {TRUST}": partial(_ours, name, trusting) for name in samplers}
    careful = Halving(grace=grace, eta=eta, trust=TRUST, safe=True)
    found |= {f"{name}, pareto_asha, trust {TRUST}, safe": partial(_ours, name, careful) for name in samplers}
    return found


def has_syne_tune() -> bool:
    """Tell whether the optional dependency is installed."""
    try:
        from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA  # noqa: F401
    except ImportError:
        return False
    return True


def _plain(sampler: Callable[[int], optuna.samplers.BaseSampler], task: Task) -> Simulation:
    proposer = PlainOptuna(task.space, task.landscape, sampler(task.seed))
    return replayed(proposer, task.landscape, None, workers=WORKERS, epochs=task.epochs)


def _ours(sampler: str, stopping: Halving | None, task: Task) -> Simulation:
    return _simulated(searched(task.space, sampler, stopping), None, task)


def _asha(grace: int, eta: int, task: Task) -> Simulation:
    stopper = ParetoHalving(Halving(grace=grace, eta=eta, promote=False), {"miou": "max"}, seed=task.seed)
    return _simulated(searched(task.space, "random", None), stopper, task)


def _moasha(grace: int, eta: int, task: Task) -> Simulation:
    stopper = Moasha(task.schedule, grace, eta, task.seed)
    return _simulated(searched(task.space, "random", None), stopper, task)


def _simulated(space: Space, stopper: Stopper | None, task: Task) -> Simulation:
    return simulate(space, task.landscape, workers=WORKERS, seed=task.seed, epochs=task.epochs, stopper=stopper)


def searched(space: Space, sampler: str, stopping: Halving | None) -> Space:
    """The space with another sampler, at its defaults, and another early stopping."""
    options = complete(SAMPLERS[sampler], {}, subject=f"search.sampler.{sampler}")
    search = replace(space.search, sampler=Component.of(sampler, options), early_stopping=stopping, trials=MANY)
    return replace(space, search=search)
