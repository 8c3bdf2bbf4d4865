"""The verbs that measure fronts: `progress`, `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer

from nas.cli.fronts import ObjectiveOption, StudiesArgument, read_studies
from nas.cli.listings import FormatOption, StoreOption
from nas.report.tables import check_format, render, telling

_SLOTS = ("backbone", "model", "context", "align", "refine", "head", "seed")

ReferenceOption = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="NAME=WORST,...",
        help="Measure hypervolume from this point. [default: scores 0, costs the greatest recorded]",
    ),
]


def progress(
    studies: StudiesArgument,
    *,
    objective: ObjectiveOption = None,
    reference: ReferenceOption = None,
    over: Annotated[Literal["epochs", "hours"], typer.Option("--over", help="Draw it over these.")] = "epochs",
    gpus: Annotated[
        float | None, typer.Option("--gpus", min=1e-3, help="GPUs that a trial used. [default: the space's]")
    ] = None,
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Draw it below the table.")] = True,
    store: StoreOption = None,
    format: FormatOption = "table",
) -> None:
    """Show how the hypervolume of the front grew with the epochs and hours spent."""
    from nas.report.fronts import differing, trained_on
    from nas.report.paths import draw_paths
    from nas.report.progress import progress_of, stated, table_rows
    from nas.store import Store

    check_format(format)
    with Store.open(store, create=False) as opened:
        names, axes = read_studies(opened, studies, objective or ())
        found = progress_of(opened, names, axes, reference, gpus)
        notes = differing(trained_on(opened, names))
    people = format in ("table", "md")
    columns = ("study", "trial", "epochs", found.hours, "hypervolume")[int(len(names) == 1) :]
    title = f"Hypervolume of the front, from {stated(found.reference, axes)}; 1 is a perfect network at no cost"
    typer.echo(render(table_rows(found, every=not people), format, columns=columns, title=title))
    if format == "table" and picture:
        words = "epochs trained" if over == "epochs" else "GPU hours" if found.hours == "gpu_hours" else "hours"
        typer.echo("\n" + draw_paths(found.paths, over=over, title=words))
    if people and notes:
        typer.echo("\n" + "\n".join(notes))


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A study.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The study that is held against it.")],
    *,
    objective: ObjectiveOption = None,
    reference: ReferenceOption = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Networks of both at most; 0 for all.")] = 20,
    store: StoreOption = None,
    format: FormatOption = "table",
) -> None:
    """Compare two studies: front members gained and lost, hypervolume, and networks that both have trained."""
    from nas.analysis.comparison import compare as lay
    from nas.report.fronts import differing, trained_on
    from nas.report.progress import recorded, reference_of, stated
    from nas.store import Store

    check_format(format)
    with Store.open(store, create=False) as opened:
        names, axes = read_studies(opened, (first, second), objective or ())
        columns: Sequence[str] = (
            "number",
            "state",
            "identity",
            "fingerprint",
            "outside",
            "epochs",
            *axes.objectives,
            *_SLOTS,
        )
        rows = [recorded(opened, opened.find_study(name)["id"], columns) for name in (first, second)]
        notes = differing(trained_on(opened, names))
    found = lay(rows[0], rows[1], axes.objectives, reference_of(reference, axes.objectives))
    own = ["number", *axes.shown, *_SLOTS]
    if format in ("json", "csv"):
        kinds: dict[str, Any] = {"gained": found.gained, "lost": found.lost, "shared": found.shared}
        volumes = dict(zip(("hypervolume_first", "hypervolume_second"), found.volumes, strict=True))
        summary = {"kind": "hypervolume", **volumes, "ratio": found.ratio}
        typer.echo(
            render([summary, *({"kind": k} | row for k, of in kinds.items() for row in axes.called(of))], format)
        )
        return
    ratio = "no ratio, as that of the first is 0" if found.ratio is None else f"{found.ratio:.4f} times that of {first}"
    typer.echo(f"Hypervolume of {second}: {ratio} (from {stated(found.reference, axes)})")
    shared = axes.called(found.shared[: limit or None])
    plural = "" if len(found.shared) == 1 else "s"
    for title, of, said in (
        (f"Gained: on the front of {second}, and not reached by {first}", axes.called(found.gained), own),
        (f"Lost: on the front of {first}, and not reached by {second}", axes.called(found.lost), own),
        (
            f"Trained in both: {len(found.shared)} network{plural}",
            shared,
            list(shared[0] if shared else ()),
        ),
    ):
        _show(title, of, said, format)
    if notes:
        typer.echo("\n" + "\n".join(notes))


def _show(title: str, rows: Sequence[dict[str, Any]], columns: Sequence[str], format: str) -> None:
    said = telling(rows, columns)
    heading = f"**{title}**\n\n" if format == "md" else ""
    typer.echo("\n" + (heading + render(rows, format, columns=said, title=title) if rows else f"{title} (none)"))
