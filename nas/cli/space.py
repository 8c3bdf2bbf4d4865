"""`nas space`: is it valid, what does it hold, what does it cost."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.report.tables import check_format, render


def space(
    space: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A space file, or a space that ships with nas.")],
    samples: Annotated[int, typer.Option(min=0, help="Networks to draw and cost.")] = 200,
    show: Annotated[int, typer.Option(min=0, help="Of these, how many to print.")] = 5,
    set: Annotated[list[str] | None, typer.Option(metavar="PATH=VALUE", help="Change a value of the file.")] = None,
    format: Annotated[str, typer.Option(metavar="table|json|csv|md", help="How to print rows.")] = "table",
) -> None:
    """Check a space, count its networks exactly, and cost a sample of them."""
    check_format(format)
    # These bring torch and timm, which `nas --help` must not wait for.
    from nas.report import spaces
    from nas.report.costs import together
    from nas.space import Space

    loaded = Space.load(space, sets=set or [])
    sample = spaces.sampled(loaded, samples)
    row = spaces.summary(loaded, sample, samples)
    if format == "table":
        for sentence in spaces.sentences(loaded, row):
            typer.echo(sentence)
        rows = spaces.examples(sample, show)
        if rows:
            typer.echo("\n" + render(rows, format, columns=together(rows, tuple(rows[0])), title="Samples"))
    else:
        typer.echo(render([row], format))
    for problem in sample.problems():
        typer.echo(f"Not built: {problem}", err=True)
