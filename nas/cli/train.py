"""`nas train`: one fixed architecture for its full schedule, recorded like any trial."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.ablate import (
    AddressOption,
    FolderOption,
    FreshOption,
    PlainOption,
    ResumeOption,
    RunnerOption,
    SetOption,
    SpaceArgument,
    StudyOption,
    conclude,
)
from nas.cli.listings import StoreOption


def train(
    space: SpaceArgument,
    *,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings, with seeds from search.seed on.")] = 1,
    study: StudyOption = None,
    store: StoreOption = None,
    sets: SetOption = None,
    resume: ResumeOption = False,
    fresh: FreshOption = False,
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    folder: FolderOption = Path("nas_runs"),
    plain: PlainOption = False,
) -> None:
    """Train one network, a space without questions, for its full schedule."""
    from nas.propose import Progress
    from nas.report.live import shown
    from nas.space import Space
    from nas.study import train as run

    # What a file compares is no matter here, and `--set` may well have fixed it.
    read = Space.load(space, [*(sets or []), "ablation=null"])
    progress = Progress(seeds)
    with shown(progress, read.objectives, plain=plain or None):
        done = run(
            read,
            seeds=seeds,
            study=study,
            store=store,
            runner=runner,
            resume=resume,
            fresh=fresh,
            address=address,
            folder=folder,
            progress=progress,
        )
    conclude(done, again=f"nas show {done.name} 0", tabled=seeds > 1)
