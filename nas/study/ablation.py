"""Train what is on a list: the arms of an ablation, or one network by itself, each with several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from blocks.errors import SpaceError, law
from nas.ablation import planned
from nas.propose import ListedProposer, Progress
from nas.propose.listed import Listed, listed
from nas.space import Candidate, Space
from nas.space.ablation import candidate_of, short
from nas.store import Store
from nas.study.edited import within
from nas.study.preemption import preemptible
from nas.study.provenance import provenance
from nas.study.results import Study
from nas.study.resume import found_or_created
from nas.study.running import FOLDER, RunnerName, carried_out
from nas.study.weights import pinned
from nas.study.work import work_of
from runners.data import dataset
from runners.protocol import Work


def ablate(
    space: Space | str,
    *,
    study: str | None = None,
    store: str | None = None,
    runner: RunnerName = "ray",
    resume: bool = False,
    fresh: bool = False,
    early_stopping: bool = False,
    address: str | None = None,
    folder: str | Path = FOLDER,
    progress: Progress | None = None,
) -> Study:
    """Train every arm of a space's `ablation:` section with every seed, and return the study.

    Args:
        space: a `Space`, or the name or path of a file.
        study: the study's name; by default the space's.
        store: a path or an SQLAlchemy URL; by default `NAS_STORE`, or nas.db in this folder.
        runner: `ray`, or `local` for one trial after another in this process.
        resume: go on with a study that exists; what has finished is not trained again.
        fresh: train what other studies in the store have trained already, too.
        early_stopping: stop arms early, as the space's search would; by default all are trained to their end.
        address: of a running Ray cluster; by default one is started here and stopped at the end.
        folder: where checkpoints lie; on a cluster, one that all nodes see.
        progress: filled while the arms are trained, for whoever shows it.

    Raises:
        NasError: the space, the data, the store or the cluster will not do; the message says what to mend.
    """
    space = pinned(Space.load(space) if isinstance(space, str) else space)
    plan = planned(space)
    assert space.ablation is not None  # `planned` has seen to it
    work = work_of(space, Path(folder) / (study or space.name))
    return _trained(
        space,
        {arm.name: arm.candidate for arm in plan.arms},
        space.ablation.seeds,
        name=study or space.name,
        work=work if early_stopping else replace(work, halving=None),
        store=store,
        runner=runner,
        resume=resume,
        fresh=fresh,
        address=address,
        progress=progress,
        settings={"ablation": space.ablation.design},
    )


def train(
    space: Space | str,
    *,
    seeds: int = 1,
    study: str | None = None,
    store: str | None = None,
    runner: RunnerName = "ray",
    resume: bool = False,
    fresh: bool = False,
    address: str | None = None,
    folder: str | Path = FOLDER,
    progress: Progress | None = None,
) -> Study:
    """Train the one network of a space without questions for its full schedule, and return the study.

    Args:
        space: a `Space`, or the name or path of a file; nothing in it may vary.
        seeds: trainings, with seeds from `search.seed` on. [count]
        study: see `ablate`, as for the others.
        store: where results lie.
        runner: who trains.
        resume: go on with a study that exists.
        fresh: train what is known, too.
        address: of a Ray cluster.
        folder: where checkpoints lie.
        progress: filled while it is trained.

    Raises:
        NasError: the space, the data, the store or the cluster will not do; the message says what to mend.
    """
    space = pinned(Space.load(space, ["ablation=null"]) if isinstance(space, str) else space)
    if open_questions := [short(question.path) for question in space.questions()]:
        got = {"questions": ", ".join(open_questions[:5]) + (", ..." if len(open_questions) > 5 else "")}
        remedy = "Fix them with --set PLACE=VALUE, or compare the answers with `nas ablate` or `nas sweep`"
        raise SpaceError(law("Training one network", "a space without questions", got, remedy))
    work = work_of(space, Path(folder) / (study or space.name))
    return _trained(
        space,
        {None: candidate_of(space.tree, {})},
        seeds,
        name=study or space.name,
        work=replace(work, halving=None),
        store=store,
        runner=runner,
        resume=resume,
        fresh=fresh,
        address=address,
        progress=progress,
        settings={"fixed": True},
    )


def _trained(
    space: Space,
    arms: Mapping[str | None, Candidate],
    seeds: int,
    *,
    name: str,
    work: Work,
    store: str | None,
    runner: RunnerName,
    resume: bool,
    fresh: bool,
    address: str | None,
    progress: Progress | None,
    settings: Mapping[str, object],
) -> Study:
    """Train each arm with each seed that is not recorded yet."""
    data = dataset(space.data, work.place)
    fingerprint = data.fingerprint()
    first = space.search.seed
    items = listed(space, arms, range(first, first + seeds), data.info, fingerprint)
    with preemptible() as preemption, Store.open(store) as opened:
        study_id, edited = found_or_created(space, name, opened, resume=resume, trials=len(items), settings=settings)
        progress = progress or Progress(len(items))
        facts = provenance(fingerprint, space.weights_hash)
        if edited:
            facts["edited"] = adopted(space, items, study_id, opened)
            progress.say(facts["edited"])
        opened.record_provenance(study_id, facts)
        proposer = ListedProposer(space, opened, study_id, items, progress=progress, fresh=fresh)
        ended = carried_out(proposer, space, work, opened, study_id, runner=runner, address=address)
        if ended:
            proposer.check()
        return Study(name, opened.url, interrupted=not ended, preempted=preemption.came, ending=progress.ending)


def adopted(space: Space, items: Sequence[Listed], study_id: int, store: Store) -> str:
    """Sort a study's trials by whether they are on the list as it is now, record that, and say so.

    Seeds and arms may be added and taken away: what is no longer on the list stays, and does not count.
    """
    wanted = {(item.arm, item.key): item for item in items}
    inside: dict[int, Mapping[str, Any]] = {}
    outside: list[int] = []
    for row in store.everything(study_id):
        item = wanted.get((row["arm"], row["identity"]))
        if item is None or not within(space.budget, row):
            outside.append(row["number"])
        else:
            inside[row["number"]] = item.candidate.answers
    store.edit_study(study_id, space=space.text, budget=space.budget, inside=inside, outside=outside)
    whole = len(inside) + len(outside)
    return f"the space was edited: {len(inside)} of {whole} recorded trials are on its list, the others do not count"
