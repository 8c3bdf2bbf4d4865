"""The loop: propose, run, record."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from blocks.network import fetch
from nas.propose import Mirror, OptunaProposer, Parents, Progress
from nas.space import Space
from nas.store import Store
from nas.study.ablation import ablate, train
from nas.study.loggers import Logbook, loggers
from nas.study.preemption import preemptible
from nas.study.provenance import provenance
from nas.study.results import Study
from nas.study.resume import claim
from nas.study.running import FOLDER, RunnerName, carried_out
from nas.study.weights import pinned
from nas.study.work import work_of
from runners.data import dataset

__all__ = ["FOLDER", "RunnerName", "Study", "ablate", "sweep", "train", "work_of"]


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
    space = pinned(Space.load(space) if isinstance(space, str) else space)
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
        facts = provenance(fingerprint, space.weights_hash)
        opened.record_provenance(study_id, facts | ({"edited": str(edit)} if edit else {}))
        for architecture in space.backbones():
            fetch(architecture)
        mirror = Mirror(opened.url, name, space.objectives)
        parents = Parents.recorded(opened, study_id, work.checkpoint) if space.search.inherit else None
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
                parents=parents,
            )
            ended = carried_out(
                proposer,
                space,
                work,
                opened,
                study_id,
                runner=runner,
                address=address,
                logbook=logbook if hears else None,
            )
            if ended:
                proposer.check()
        finally:
            mirror.close()
        return Study(name, opened.url, interrupted=not ended, preempted=preemption.came, ending=progress.ending)
