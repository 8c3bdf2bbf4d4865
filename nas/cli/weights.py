"""`nas weights`: which tensors of a file a network takes, before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nas.report.tables import check_format, render


def weights(
    space: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A space file, or a space that ships with nas.")],
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[WEIGHTS]", help="Safetensors or torch; by default the space's training.weights."),
    ] = None,
    *,
    set: Annotated[list[str] | None, typer.Option(metavar="PATH=VALUE", help="Change a value of the file.")] = None,
    format: Annotated[str, typer.Option(metavar="table|json|csv|md", help="How to print rows.")] = "table",
) -> None:
    """Match a file of weights with the networks of a space, one row a backbone; json names every tensor."""
    check_format(format)
    # These bring torch and timm, which `nas --help` must not wait for.
    from nas.report import weights as report
    from nas.report.costs import together
    from nas.space import Space
    from runners.matching import Matched

    loaded = Space.load(space, sets=set or [])
    found = report.reports(loaded, file)
    fitting = [matched for _, matched in found if isinstance(matched, Matched)]
    problems = [matched for _, matched in found if not isinstance(matched, Matched)]
    if problems and not fitting:
        raise problems[0]
    rows = report.rows(found, names=format == "json")
    if format == "json":
        typer.echo(json.dumps(rows, indent=2))  # lists of names stay lists
    elif format == "csv":
        typer.echo(render(rows, format))
    else:
        title = f"{loaded.name}: {len(fitting)} of {len(found)} backbones take {fitting[0].file}" if fitting else ""
        typer.echo(render(rows, format, columns=together(rows, report.COLUMNS), title=title))
        for line in report.sentences(fitting[0]) if len(found) == 1 else ():
            typer.echo(line)
    for problem in problems:
        typer.echo(f"Does not fit: {problem}", err=True)
