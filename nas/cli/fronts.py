"""The verb `front`: which trials nothing beats, in any two or three of their figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from blocks.errors import QueryError, law
from nas.cli.listings import StoreOption, TypesetOption, WhereOption
from nas.report.tables import TYPESET, check_format, render, telling

if TYPE_CHECKING:
    from nas.analysis.compared import Question
    from nas.report.objectives import Axes
    from nas.store import Store

_WIDTH = 80
_LITERATURE = ("network", "data", "size", "classes", "miou", "macs", "macs_conv", "params", "unbeaten", "source")

StudiesArgument = Annotated[list[str], typer.Argument(metavar="STUDY...", help="One or more studies.")]
ObjectiveOption = Annotated[
    list[str] | None,
    typer.Option(
        "--objective",
        metavar="NAME[:max|min]",
        help="Compare this: miou, iou.CLASS, macs, params, latency_ms, ... Two or three. [default: the study's]",
    ),
]


def front(
    studies: StudiesArgument,
    *,
    objective: ObjectiveOption = None,
    x: Annotated[
        str | None, typer.Option("--x", help="The horizontal axis, e.g. params. [default: the study's]")
    ] = None,
    y: Annotated[str | None, typer.Option("--y", help="The vertical axis. [default: the study's]")] = None,
    where: WhereOption = None,
    under: Annotated[
        list[str] | None,
        typer.Option("--under", metavar="NAME=LIMIT", help="The best network under each limit instead; repeatable."),
    ] = None,
    seeds: Annotated[
        Literal["all", "mean"], typer.Option("--seeds", help="Trials that differ in the seed alone: each, or the mean.")
    ] = "all",
    early: Annotated[
        bool, typer.Option("--early", help="Also trials that were stopped, go on or have fewer epochs, marked so.")
    ] = False,
    rest: Annotated[bool, typer.Option("--rest", help="Also the others, and how far each is from the front.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Rows of --rest at most; 0 for all.")] = 50,
    published: Annotated[
        str | None,
        typer.Option("--published", metavar="DATA", help="Published networks beside: cityscapes, ade20k, ..."),
    ] = None,
    size: Annotated[
        str, typer.Option("--size", metavar="HxW", help="Input size for all that is published. [default: its own]")
    ] = "",
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Draw it below the table.")] = True,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write it as a page, too.")] = None,
    store: StoreOption = None,
    format: TypesetOption = "table",
) -> None:
    """Show which finished trials no other beats, of one study or of several."""
    from nas.analysis.compared import Question, ask, others
    from nas.report import fronts
    from nas.store import Store

    check_format(format, TYPESET)
    wanted = _size(size)
    with Store.open(store, create=False) as opened:
        names, axes = read_studies(opened, studies, objective or (), x, y)
        question = Question(studies=tuple(names), objectives=axes.objectives, where=where, early=early, seeds=seeds)
        mean, several = seeds == "mean", len(names) > 1
        columns = fronts.columns(axes.objectives, several=several, mean=False, early=early)
        shown = fronts.columns(axes.shown, several=several, mean=mean, early=early)
        if under:
            rows, limited = _limited(opened, question, axes, under, columns)
            shown = ["under", *dict.fromkeys((*shown, *limited))]
            title = f"Best {axes.drawn[1]} under each limit"
            typer.echo(render(rows, format, columns=_occurring(rows, shown, format), title=title))
            if format == "table" and any(len(row) == 1 for row in rows):
                typer.echo("\nWhere no network is named, no trial that counts here is under the limit.")
            return
        answer = ask(opened, question, columns)
        best = axes.called(answer.front)
        far = others(opened, question, answer, (*columns, "epochs", "study"), limit) if rest else []
        known = _literature(published, wanted, answer.front, axes) if published else []
        drawn = fronts.cloud(opened, answer, axes, described=html is not None and not mean)
        ours = opened.input_of(tuple(names))
        data = fronts.trained_on(opened, names) if several else {}
    title = fronts.title(list(names.values()), answer, axes.shown, early=early, mean=mean)
    if early:
        usual = {names[key]: epochs for key, epochs in answer.schedules.items()}
        best, far = fronts.marked(best, usual), fronts.marked(far, usual)
        shown.insert(1, "final")
    _show(
        best, axes.called(far), known, shown, format, title=title, notes=fronts.notes(answer, names, axes.shown, data)
    )
    if known and format == "table":
        typer.echo("\n" + fronts.counting(known, ours))
    if format == "table" and picture and (best or known):
        typer.echo("\n" + _drawn(drawn, best, known, axes))
    if html is not None:
        from nas.report.picture import write_html

        write_html(html, drawn, best, x=axes.drawn[0], y=axes.drawn[1], title=title, published=known)
        typer.echo(f"Written to {html}", err=True)


def read_studies(
    store: Store, studies: Sequence[str], objective: Sequence[str], x: str | None = None, y: str | None = None
) -> tuple[dict[int, str], Axes]:
    """The studies by their ids, and what is compared: by default what the first of them was searched for."""
    from nas.report.objectives import axes_of, class_index_of

    found = [store.find_study(name) for name in dict.fromkeys(studies)]
    classes = class_index_of(found[0]["name"], found[0]["space"])
    return {row["id"]: row["name"] for row in found}, axes_of(found[0]["objectives"], objective, x, y, classes)


def _literature(
    data: str, size: tuple[int, int] | None, best: Sequence[dict[str, Any]], axes: Axes
) -> list[dict[str, Any]]:
    from nas.report.fronts import beside, check_known
    from nas.report.literature import literature

    check_known(axes.objectives)
    return beside(best, literature(data, size=size), axes.objectives)


def _limited(
    store: Store, question: Question, axes: Axes, under: Sequence[str], columns: Sequence[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The best network under each limit, and what is limited."""
    from nas.analysis.compared import best_under
    from nas.report.fronts import limit_rows
    from nas.report.objectives import limits_of

    limits = [limits_of(text) for text in under]
    rows = axes.called(limit_rows(limits, best_under(store, question, limits, columns)))
    return rows, [name for limit in limits for name in limit]


def _show(
    best: Sequence[dict[str, Any]],
    others: Sequence[dict[str, Any]],
    known: Sequence[dict[str, Any]],
    shown: list[str],
    format: str,
    *,
    title: str,
    notes: Sequence[str],
) -> None:
    """Print the tables: one for each kind of row for people, one of all for machines."""
    gaps = [name for name in (others[0] if others else ()) if name.endswith("_missing") or name == "distance"]
    if format in ("json", "csv"):
        mark = ["front", *gaps] if others else []
        everything = [*(row | {"front": True} for row in best), *(row | {"front": False} for row in others), *known]
        extra = ["published", *(name for name in _LITERATURE if name not in shown)] if known else []
        typer.echo(render(everything, format, columns=[*shown, *mark, *extra]))
        return
    typer.echo(render(best, format, columns=_occurring(best, shown, format), title=title))
    if others:
        columns = _occurring(others, [shown[0], *gaps, *shown[1:]], format)
        typer.echo("\n" + render(others, format, columns=columns, title="Not on the front, the nearest first"))
    if known:
        typer.echo("\n" + render(known, format, columns=list(_LITERATURE), title="Published"))
    if notes and format == "table":
        typer.echo("\n" + "\n".join(notes))


def _occurring(rows: Sequence[dict[str, Any]], columns: Sequence[str], format: str) -> list[str]:
    """For people the columns in which some row says something, for machines all."""
    return list(columns) if format in ("json", "csv") else telling(rows, columns)


def _drawn(rows: Sequence[dict[str, Any]], best: Sequence[dict[str, Any]], known: Any, axes: Axes) -> str:
    import shutil
    import sys

    from nas.report.picture import draw

    colour = sys.stdout.isatty()
    width = min(shutil.get_terminal_size((_WIDTH, 24)).columns, 120) if colour else _WIDTH
    x, y = axes.drawn
    return draw(rows, best, x=x, y=y, published=known, width=width, colour=colour)


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    if not (found := re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", text)):
        raise QueryError(law("--size", "height x width in pixels", {"size": text}, "Write it like 512x1024"))
    return int(found[1]), int(found[2])
