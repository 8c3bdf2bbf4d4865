"""The verb that writes a page to share: `nas report STUDY`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.listings import StoreOption, StudyArgument


def report(
    study: StudyArgument,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The page. [default: STUDY.html]")
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="DIR", help="Write the main pictures there, for slides and papers.")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Write all about a study as one page that works offline: front, curves, effects, failures, every trial."""
    from nas.report.page import collect, payload, write_page
    from nas.store import Store

    with Store.open(store, create=False) as opened:
        collected = collect(opened, study)
    file = output or Path(f"{study.replace('/', '_')}.html")
    write_page(file, payload(collected, store=store))
    typer.echo(f"Written to {file}", err=True)
    if png is not None:
        from nas.report.figures import write_figures

        for written in write_figures(png, collected):
            typer.echo(f"Written to {written}", err=True)
