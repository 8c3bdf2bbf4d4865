"""`nas ablate`: train the arms of an ablation, each with several seeds, and print their table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nas.cli.listings import StoreOption, TypesetOption
from nas.cli.table import table

if TYPE_CHECKING:
    from nas.space import Space
    from nas.study import Study

SpaceArgument = Annotated[str, typer.Argument(metavar="FILE|NAME", help="A YAML file, or the name of a shipped space.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change one value of the file; repeatable.")
]
StudyOption = Annotated[str | None, typer.Option("--study", help="The study's name. [default: the space's]")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with a study that exists.")]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Train again what other studies of the store have trained already.")
]
RunnerOption = Annotated[Literal["ray", "local"], typer.Option(help="Ray, or one trial after another in this process.")]
AddressOption = Annotated[
    str | None, typer.Option(help="Of a running Ray cluster. [default: start one here, stop it at the end]")
]
FolderOption = Annotated[Path, typer.Option(help="Where checkpoints go; on a cluster, one that all nodes see.")]
PlainOption = Annotated[bool, typer.Option("--plain", help="Progress as lines, on a terminal too.")]


def ablate(
    space: SpaceArgument,
    *,
    design: Annotated[
        Literal["listed", "one_at_a_time", "leave_one_out", "pairs", "factorial"] | None,
        typer.Option("--design", help="Which arms: ablation.design."),
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Trainings of each arm: ablation.seeds.")] = None,
    study: StudyOption = None,
    store: StoreOption = None,
    sets: SetOption = None,
    resume: ResumeOption = False,
    fresh: FreshOption = False,
    early_stopping: Annotated[
        bool, typer.Option("--early-stopping", help="Stop arms early, as the space's search would.")
    ] = False,
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    folder: FolderOption = Path("nas_runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the arms, in what they differ and what they cost; record nothing.")
    ] = False,
    plain: PlainOption = False,
    format: TypesetOption = "table",
) -> None:
    """Train the arms of an ablation, each with several seeds; then show their table."""
    from nas.report.tables import TYPESET, check_format

    check_format(format, TYPESET)
    from nas.propose import Progress
    from nas.report.live import shown
    from nas.space import Space
    from nas.study import ablate as run

    given = {"ablation.design": design, "ablation.seeds": seeds}
    own = [f"{path}={value}" for path, value in given.items() if value is not None]
    read = Space.load(space, [*(sets or []), *own])
    if dry_run:
        _rehearse(read, format)
        return
    progress = Progress(0)
    with shown(progress, read.objectives, plain=plain or None):
        done = run(
            read,
            study=study,
            store=store,
            runner=runner,
            resume=resume,
            fresh=fresh,
            early_stopping=early_stopping,
            address=address,
            folder=folder,
            progress=progress,
        )
    conclude(done, again=f"nas table {done.name}", tabled=True, format=format)


def conclude(done: Study, *, again: str, tabled: bool, format: str = "table") -> None:
    """Show the table, where there is one, and say how the run ended, by the exit code too."""
    with done:
        counts = done.counts()
    finished = counts.get("finished", 0) + counts.get("replayed", 0)
    if finished and tabled and not done.preempted:
        table(done.name, store=done.url, format=format)
        typer.echo(err=format != "table")
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    typer.echo(f"{states or 'no trials'}. Results: {done} ({again}, nas trials {done.name})", err=format != "table")
    if done.ending:
        typer.echo(f"Ended early: {done.ending}.", err=format != "table")
    if done.interrupted:
        typer.echo(f"Interrupted. Go on with the same command and --resume (study {done.name}).", err=True)
        raise typer.Exit(130)
    if not finished:
        raise typer.Exit(1)


def _rehearse(space: Space, format: str) -> None:
    from nas.report.plans import rows_of, sentences
    from nas.report.tables import render

    rows = rows_of(space)
    typer.echo(render(rows, format, title=f"{space.name}: what an ablation would train"))
    typer.echo("\n" + "\n".join(sentences(space)), err=format != "table")
