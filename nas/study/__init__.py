"""The loop: propose, run, record."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

from blocks.architecture import Component
from blocks.network import fetch
from nas.propose import Mirror, OptunaProposer, Progress
from nas.space import Space
from nas.store import Store
from nas.study.checkpoints import Pruning
from nas.study.loggers import Logbook, Logged, loggers
from nas.study.preemption import preemptible
from nas.study.provenance import provenance
from nas.study.results import Study
from nas.study.resume import claim, recall
from nas.study.work import work_of
from runners.data import dataset
from runners.halving import ParetoHalving
from runners.promotion import Promotion
from runners.protocol import Halving, Proposer, Runner, Work

RunnerName = Literal["ray", "local"]
FOLDER = "nas_runs"

__all__ = ["FOLDER", "RunnerName", "Study", "sweep", "work_of"]


def sweep(
    space: Space | str,
    *,
    study: str | None = None,
    store: str | None = None,
    runner: RunnerName = "ray",
    resume: bool = False,
    fresh: bool = False,
    address: str | None = None,
    folder: str | Path = FOLDER,
    progress: Progress | None = None,
    tensorboard: str | Path | None = None,
    log: Sequence[str] = (),
) -> Study:
    """Search a space until its trials or another limit of the search are used up, and return the study.

    Args:
        space: a `Space`, or the name or path of a file.
        study: the study's name; by default the space's.
        store: a path or an SQLAlchemy URL; by default `NAS_STORE`, or nas.db in this folder.
        runner: `ray`, or `local` for one trial after another in this process.
        resume: go on with a study that exists; what has finished is not trained again.
        fresh: train what other studies in the store have trained already, too.
        address: of a running Ray cluster; by default one is started here and stopped at the end.
        folder: where checkpoints lie; on a cluster, one that all nodes see.
        progress: filled while the sweep runs, for whoever shows it.
        tensorboard: a folder for TensorBoard's event files.
        log: `mlflow`, `wandb`: curves of what is trained go there, too. A logger that fails ends no sweep.

    Raises:
        NasError: the space, the data, the store or the cluster will not do; the message says what to mend.
    """
    space = Space.load(space) if isinstance(space, str) else space
    name = study or space.name
    hears = loggers(name, log, tensorboard)
    work = work_of(space, Path(folder) / name)
    data = dataset(space.data, work.place)
    fingerprint = data.fingerprint()
    with preemptible() as preemption, closing(Logbook(hears)) as logbook, Store.open(store) as opened:
        study_id, edit = claim(space, name, opened, resume=resume, data=data.info, fingerprint=fingerprint)
        progress = progress or Progress(space.search.trials)
        if edit is not None:
            progress.say(str(edit))
        opened.record_provenance(study_id, provenance(fingerprint) | ({"edited": str(edit)} if edit else {}))
        for architecture in space.backbones():
            fetch(architecture)
        mirror = Mirror(opened.url, name, space.objectives)
        try:
            proposer = OptunaProposer(
                space,
                opened,
                study_id,
                data=data.info,
                data_fingerprint=fingerprint,
                progress=progress,
                mirror=mirror,
                fresh=fresh,
            )
            stopper = _stopper(space, work.halving, opened, study_id) if work.halving else None
            ended = _runner(runner, work, space.data, stopper, address).run(
                _wrapped(proposer, space, work, stopper, logbook if hears else None)
            )
            if ended:
                proposer.check()
        finally:
            mirror.close()
        return Study(name, opened.url, interrupted=not ended, preempted=preemption.came, ending=progress.ending)


def _wrapped(
    proposer: OptunaProposer, space: Space, work: Work, stopper: ParetoHalving | None, logbook: Logbook | None
) -> Proposer:
    """Let checkpoints go that nobody needs, loggers hear, and trials go on that early stopping has let wait."""
    prunes = work.saves and work.keep in ("front", "none")
    pruned = Pruning(proposer, work, space.objectives) if prunes else proposer
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
