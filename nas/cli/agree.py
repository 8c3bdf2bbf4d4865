"""`nas agree`: may a search be run on a proxy?"""

from __future__ import annotations

from typing import Annotated

import typer

from blocks.errors import QueryError, law, nearest
from nas.cli.listings import StoreOption, TypesetOption, WhereOption
from nas.report.tables import TYPESET, check_format, render, telling

_SCORES = ("miou", "miou_best", "pixel_accuracy")


def agree(
    proxy: Annotated[str, typer.Argument(metavar="PROXY", help="The study with the short schedule.")],
    full: Annotated[
        str | None,
        typer.Argument(metavar="[FULL]", help="The one with the full schedule. [default: PROXY's own last epoch]"),
    ] = None,
    *,
    by: Annotated[str, typer.Option("--by", metavar="|".join(_SCORES), help="Rank by this.")] = "miou",
    top: Annotated[
        int, typer.Option("--top", min=1, help="Networks that would be trained in full; at most half.")
    ] = 10,
    epoch: Annotated[
        list[int] | None, typer.Option("--epoch", help="Of one study: after so many epochs; repeatable. [default: all]")
    ] = None,
    networks: Annotated[bool, typer.Option("--networks", help="The networks instead, with both ranks.")] = False,
    where: WhereOption = None,
    store: StoreOption = None,
    format: TypesetOption = "table",
) -> None:
    """Say how well a proxy ranks networks as the full schedule does: two studies, or early epochs of one."""
    check_format(format, TYPESET)
    if by not in _SCORES:
        raise QueryError(law("--by", "a score", {"by": by}, nearest(by, _SCORES)))
    if full is not None and epoch:
        raise QueryError(law("--epoch", "one study alone", {"studies": [proxy, full]}, "Leave out FULL or --epoch"))
    if full is None and by != "miou":
        raise QueryError(law("--by", "two studies for anything but miou", {"by": by}, "Leave it out"))
    if full is None and networks and len(epoch or ()) != 1:
        raise QueryError(law("--networks", "two studies, or one --epoch", {"study": proxy}, "Write --epoch N"))
    from nas.report import agreement as report
    from nas.store import Store

    with Store.open(store, create=False) as opened:
        if full is not None:
            told = [report.of_studies(opened, proxy, full, by=by, top=top, where=where)]
        else:
            told = report.of_epochs(opened, proxy, epochs=sorted(set(epoch or ())), top=top, where=where)
    against = f"{proxy} as a proxy of {full}" if full else f"Early epochs of {proxy} as proxies of its last"
    if networks:
        rows = report.networks(told[0].pairs, by)
        columns = telling(rows, list(rows[0])) if format not in ("json", "csv") else None
        typer.echo(render(rows, format, columns=columns, title=f"{against}: networks that it underrates come first"))
        return
    typer.echo(render([each.row for each in told], format, title=f"{against}, by {by}"))
    if format == "table":
        lines = [report.sentence(told[0], by)] if len(told) == 1 else []
        for line in (*lines, *told[0].notes):
            typer.echo("\n" + line)
