"""`nas table`: the arms of an ablation as a paper prints them."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.listings import StoreOption, StudyArgument, WhereOption
from nas.report.tables import TYPESET, check_format, render


def table(
    study: StudyArgument,
    *,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="ARM", help="Compared with. [default: the ablation's]")
    ] = None,
    where: WhereOption = None,
    store: StoreOption = None,
    format: Annotated[str, typer.Option("--format", metavar="table|latex|md|html|csv|json", help="How.")] = "table",
) -> None:
    """Compare arms: costs, mIoU over seeds, the difference to a baseline with its interval and a corrected test."""
    check_format(format, TYPESET)
    from nas.report import arms, sheet
    from nas.store import Store

    with Store.open(store, create=False) as opened:
        found = arms.comparison(opened, study, baseline=baseline, where=where)
    if format in ("csv", "json"):
        typer.echo(render(arms.records(found), format))
    else:
        typer.echo(sheet.written(arms.sheet(found), format))
