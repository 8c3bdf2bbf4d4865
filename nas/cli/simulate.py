"""The verb that searches without a machine: `nas simulate SPACE --from STUDY`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from nas.cli.listings import FormatOption, StoreOption
from nas.report.tables import check_format, render


def simulate(
    space: Annotated[str, typer.Argument(metavar="SPACE", help="A YAML file, or the name of a shipped space.")],
    *,
    source: Annotated[
        str, typer.Option("--from", metavar="STUDY", help="The study whose learning curves are replayed.")
    ],
    workers: Annotated[int, typer.Option(min=1, help="Trials at once.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Simulate so many searches, from the space's seed on.")] = 1,
    show: Annotated[
        Literal["course", "front"], typer.Option(help="How far it was when, or the networks that it found.")
    ] = "course",
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change one value of the file; repeatable.")
    ] = None,
    store: StoreOption = None,
    format: FormatOption = "table",
) -> None:
    """Say what a search would have found, when, and for how many epochs: on recorded curves, in seconds."""
    check_format(format)
    from nas.analysis.yardstick import Yardstick
    from nas.report import simulations as report
    from nas.space import Space
    from nas.store import Store
    from nas.study.simulation import Recorded
    from nas.study.simulation import simulate as run

    read = Space.load(space, sets or [])
    with Store.open(store, create=False) as opened:
        recorded = Recorded(opened, source)
    yardstick = Yardstick(recorded.finals(), read.objectives)
    done = [run(read, recorded, workers=workers, seed=read.search.seed + number) for number in range(seeds)]
    course = report.course(done, yardstick)
    rows = course if show == "course" else report.fronts(done, read.objectives)
    said = report.summary(done, course)
    typer.echo(render(rows, format, title=f"{read.name} on {source}: {said}"))
    unknown = sum(each.unknown for each in done)
    if unknown:
        remedy = "they failed, and took no time"
        typer.echo(f"{unknown} of the proposed networks have no (whole) curve in {source}: {remedy}", err=True)
    if not any(each.found for each in done):
        raise typer.Exit(1)
