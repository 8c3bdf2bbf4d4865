"""The verb that runs: `nas sweep SPACE`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nas.cli.fronts import front
from nas.cli.listings import StoreOption

if TYPE_CHECKING:
    from nas.space import Space
    from nas.study import Study


def sweep(
    space: Annotated[str, typer.Argument(metavar="SPACE", help="A YAML file, or the name of a shipped space.")],
    *,
    study: Annotated[str | None, typer.Option("--study", help="The study's name. [default: the space's]")] = None,
    store: StoreOption = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change one value of the file; repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a study that exists.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train again what other studies of the store have trained already.")
    ] = False,
    hours: Annotated[
        float | None, typer.Option(help="End after so many hours, ready for --resume: search.hours.", min=1e-4)
    ] = None,
    runner: Annotated[
        Literal["ray", "local"], typer.Option(help="Ray, or one trial after another in this process.")
    ] = "ray",
    address: Annotated[
        str | None, typer.Option(help="Of a running Ray cluster. [default: start one here, stop it at the end]")
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Where checkpoints and the picture go; on a cluster, one that all nodes see.")
    ] = Path("nas_runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run and how long it takes; record nothing.")
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Progress as lines, on a terminal too.")] = False,
) -> None:
    """Search a space: sample, gate, train, record; then show the Pareto front."""
    from nas.propose import Progress
    from nas.report.live import shown
    from nas.space import Space
    from nas.study import sweep as run

    read = Space.load(space, [*(sets or []), *([] if hours is None else [f"search.hours={hours}"])])
    if dry_run:
        _rehearse(read)
        return
    progress = Progress(read.search.trials)
    with shown(progress, read.objectives, plain=plain or None):
        done = run(
            read,
            study=study,
            store=store,
            runner=runner,
            resume=resume,
            fresh=fresh,
            address=address,
            folder=folder,
            progress=progress,
        )
    _conclude(done, folder)


def _conclude(done: Study, folder: Path) -> None:
    """Show the front and say how the sweep ended, by the exit code too."""
    with done:
        finished = 0 if done.preempted else len(done.front())
        counts = ", ".join(f"{count} {state}" for state, count in done.counts().items())
        repeated = _repeated(done.origins())
    if finished:
        page = folder / done.name / "front.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        front([done.name], store=done.url, html=page)
    typer.echo(f"{counts or 'no trials'}. Results: {done} (nas trials {done.name}, nas front {done.name})")
    if done.ending:
        typer.echo(f"Ended early: {done.ending}.")
    if repeated:
        typer.echo(repeated)
    if done.interrupted:
        typer.echo(f"Interrupted. Go on with the same command and --resume (study {done.name}).", err=True)
        raise typer.Exit(130)
    if not finished:
        raise typer.Exit(1)


def _repeated(origins: Mapping[str, int]) -> str:
    """What became of known networks that the sampler proposed."""
    if not origins["repeats"]:
        return ""
    instead = [f"{origins[name]} {name}" for name in ("neighbour", "random") if name in origins]
    others = f" After ten in a row others took their place: {', '.join(instead)}." if instead else ""
    return f"Known networks that the sampler proposed: {origins['repeats']}, none trained again.{others}"


def _rehearse(space: Space) -> None:
    from nas.report.tables import render
    from nas.study.rehearsal import rehearse

    typer.echo(render(rehearse(space), "table", title=f"{space.name}: what a sweep would run (nothing is recorded)"))
