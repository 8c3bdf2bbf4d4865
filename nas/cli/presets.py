"""`nas presets`: the recipes that a space takes by name."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.listings import TypesetOption
from nas.report.tables import TYPESET, check_format, render


def presets(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One of them, with every value it sets.")] = None,
    *,
    format: TypesetOption = "table",
) -> None:
    """List the recipes for `training: {preset: NAME}`; with a name, show what it sets and where it comes from."""
    check_format(format, TYPESET)
    # The catalogue of data sets brings torch, which `nas --help` must not wait for.
    from nas.report import presets as report
    from nas.space.presets import preset

    if name is None:
        typer.echo(render(report.overview(), format))
        return
    found = preset(name)
    if format == "table":
        for sentence in report.sentences(found):
            typer.echo(sentence)
        typer.echo("")
    typer.echo(render(report.values(found), format))
