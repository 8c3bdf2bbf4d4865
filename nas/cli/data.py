"""`nas data`: what a data set holds, checked before a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blocks.errors import DataError, QueryError, law, nearest
from nas.report.tables import check_format, render

_SHOWN = 20  # problems; a terminal has few lines
_KINDS = ("splits", "classes", "problems")


def data(
    name: Annotated[
        str | None,
        typer.Argument(metavar="FILE|NAME", help="A space file, a space that ships with nas, or a data set."),
    ] = None,
    *,
    root: Annotated[str, typer.Option(metavar="PATH", help="Where it lies. [default: what the space says]")] = "",
    samples: Annotated[int, typer.Option(min=0, help="Samples of each split to read, at random; 0 for all.")] = 0,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw random samples with their labels, as PNG.")
    ] = None,
    rows: Annotated[str, typer.Option(metavar="splits|classes|problems", help="Print these alone.")] = "",
    set: Annotated[list[str] | None, typer.Option(metavar="PATH=VALUE", help="Change a value of the file.")] = None,
    format: Annotated[str, typer.Option(metavar="table|json|csv|md", help="How to print rows.")] = "table",
) -> None:
    """Check a data set: read every file once, count, measure, and name all that is wrong. Without a name, list them."""
    check_format(format)
    if rows and rows not in _KINDS:
        raise QueryError(law("--rows", "one of " + ", ".join(_KINDS), {"rows": rows}, nearest(rows, _KINDS)))
    # These bring torch, which `nas --help` must not wait for.
    from nas.report import datasets
    from nas.report import samples as pictures
    from runners.data import dataset

    if name is None:
        typer.echo(render(datasets.catalogue_rows(), format))
        return
    if picture:
        pictures.check_picture(picture)
    component, place = datasets.named(name, set or [], root)
    made = dataset(component, place)
    found = datasets.check(made, limit=samples)
    tables = {
        "splits": datasets.split_rows(found, made.info),
        "classes": datasets.class_rows(found, made.info),
        "problems": datasets.problem_rows(found),
    }
    # What reads json or csv wants one table: the classes, unless it says otherwise. Of nothing read, there are none.
    people = ["splits", "classes"] if any(one.sizes for one in found.values()) else ["splits"]
    shown = [rows] if rows else ["classes"] if format in ("json", "csv") else people
    typer.echo("\n\n".join(render(tables[kind], format, title=_title(kind, component.name)) for kind in shown))
    for note in [] if rows else datasets.notes(found, made.info):
        typer.echo(note, err=True)
    if problems := [str(row["problem"]) for row in tables["problems"]]:
        raise DataError(_summary(component.name, problems, listed=shown == ["problems"]), problems)
    if picture:
        pictures.write_samples(picture, made)
        typer.echo(f"Written to {picture}", err=True)


def _title(kind: str, name: str) -> str:
    return {"splits": f"Data set {name}", "classes": "Classes, as shares of all pixels", "problems": "Problems"}[kind]


def _summary(name: str, problems: list[str], *, listed: bool) -> str:
    """The first problems in one message, unless they are all printed already."""
    more = len(problems) - _SHOWN
    rest = [f"... and {more} more; --rows problems names them all."] if more > 0 else []
    remedy = "Mend them before a sweep"
    needs = law(f"Data set {name}", "samples that can all be used", {"problems": len(problems)}, remedy)
    return needs if listed else "\n".join([*problems[:_SHOWN], *rest, needs])
