"""Between a proposer and a runner: early stopping, and the checkpoints that nobody needs."""

from __future__ import annotations

from typing import Literal

from blocks.architecture import Component
from nas.space import Space
from nas.store import Store
from nas.study.checkpoints import Pruning, Reporting
from nas.study.loggers import Logbook, Logged
from nas.study.resume import recall
from runners.halving import ParetoHalving
from runners.promotion import Promotion
from runners.protocol import Halving, Work
from runners.roles import Proposer, Runner

RunnerName = Literal["ray", "local"]
FOLDER = "nas_runs"


def carried_out(
    proposer: Reporting,
    space: Space,
    work: Work,
    store: Store,
    study_id: int,
    *,
    runner: RunnerName,
    address: str | None = None,
    logbook: Logbook | None = None,
) -> bool:
    """Have a runner carry out what is proposed; return False when a person interrupted."""
    stopper = _stopper(space, work.halving, store, study_id) if work.halving else None
    return _runner(runner, work, space.data, stopper, address).run(_wrapped(proposer, space, work, stopper, logbook))


def _wrapped(
    proposer: Reporting, space: Space, work: Work, stopper: ParetoHalving | None, logbook: Logbook | None
) -> Proposer:
    """Let checkpoints go that nobody needs, loggers hear, and trials go on that early stopping has let wait."""
    pruned = Pruning(proposer, work, space.objectives) if work.saves else proposer
    logged = Logged(pruned, logbook) if logbook else pruned
    return Promotion(logged, stopper) if stopper else logged


def _stopper(space: Space, options: Halving, store: Store, study_id: int) -> ParetoHalving:
    search = space.search
    stopper = ParetoHalving(options, space.objectives, seed=search.seed, trials=search.trials)
    recall(stopper, store, study_id)
    return stopper


def _runner(
    name: RunnerName, work: Work, data: Component, stopper: ParetoHalving | None, address: str | None
) -> Runner:
    # Each is imported only where it is used: ray takes seconds, and a laptop may do without.
    if name == "local":
        from runners.local import LocalRunner

        return LocalRunner(work, data, stopper)
    from runners.ray_tune import RayRunner

    return RayRunner(work, data, stopper, address=address)
