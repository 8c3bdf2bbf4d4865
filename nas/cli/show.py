"""`nas show`: everything about one trial."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from blocks.errors import BlockError, StoreError
from nas.cli.evaluate import DeviceOption, FolderOption, RootOption, Split, SplitOption
from nas.cli.listings import FormatOption, StoreOption, StudyArgument
from nas.report import trial as about
from nas.report.tables import Rows, check_format, render

if TYPE_CHECKING:
    from nas.analysis.standing import Standing
    from nas.store import Store

_DRAWN: Final = 3  # epochs from which on a picture says more than a table


def show(
    study: StudyArgument,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="The trial's number.")],
    *,
    epochs: Annotated[bool, typer.Option("--epochs", help="The curve alone: one row per epoch.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="What the store holds alone: no costs by part, no names of classes.")
    ] = False,
    images: Annotated[
        int, typer.Option("--images", min=0, metavar="N", help="Draw so many predictions beside image and label.")
    ] = 0,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to draw them, as PNG. [default: STUDY-TRIAL.png]")
    ] = None,
    split: SplitOption = "val",
    root: RootOption = "",
    folder: FolderOption = Path("nas_runs"),
    device: DeviceOption = "",
    store: StoreOption = None,
    format: FormatOption = "table",
) -> None:
    """Show everything about one trial: choices, costs by part, curve, classes, rank, evaluations, failure, log."""
    from nas.store import Store

    check_format(format)
    with Store.open(store, create=False) as opened:
        facts = opened.find_trial(opened.find_study(study)["id"], trial)
        if epochs:
            typer.echo(render(opened.epochs(facts["id"]), format))
        elif format in ("json", "csv"):
            typer.echo(render([_flat(opened, study, facts)], format))
        else:
            _for_people(opened, study, facts, format, quick=quick)
        if images:
            target = picture or Path(f"{study}-{trial}.png".replace("/", "_"))
            _draw(opened, study, trial, target, images=images, split=split, root=root, folder=folder, device=device)


def _standing(opened: Store, study: str, facts: Mapping[str, Any]) -> tuple[Standing | None, dict[str, str]]:
    found = opened.find_study(study)
    from nas.analysis.standing import standing
    from nas.store.columns import FLAT, canonical

    # Objectives that are no column (a figure of another version) rank nothing.
    goals = {canonical(name): goal for name, goal in found["objectives"].items() if canonical(name) in FLAT}
    columns = dict.fromkeys((*goals, "number", "state", "identity", "outside"))
    rows = opened.trials(found["id"], columns=columns)
    return (standing(rows, goals, facts["number"]) if goals else None), goals


def _flat(opened: Store, study: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """One flat row for programs."""
    # A path never collides with a column: what could (`context`) says the same in both.
    chosen = {path: value for path, value in opened.choices(facts["id"]).items() if path not in facts}
    evaluations = json.dumps(opened.evaluations(facts["id"]), default=str)
    ranked, _ = _standing(opened, study, facts)
    return {**facts, **chosen, **about.standing_facts(ranked), "evaluations": evaluations}


def _for_people(opened: Store, study: str, facts: Mapping[str, Any], format: str, *, quick: bool) -> None:
    curve, later = opened.epochs(facts["id"]), opened.evaluations(facts["id"])
    choices = opened.choices(facts["id"])
    ranked, goals = _standing(opened, study, facts)
    parts, names, note = ([], (), "") if quick else _built(facts)
    _table("Trial", about.fact_rows(facts), format)
    _table("Chosen", [{"option": path, "value": value} for path, value in choices.items()], format)
    _table("Costs by part", parts, format)
    typer.echo(f"{note}\n" if note else "", nl=False)
    typer.echo(f"{about.standing_words(ranked, facts['state'], goals)}\n")
    _table("Evaluations", about.evaluation_rows(later), format)
    _table("Classes", about.class_rows(facts["class_iou"], names, later), format)
    if len(curve) < _DRAWN or format == "md":
        _table("Epochs", [{n: v for n, v in row.items() if n != "class_iou"} for row in curve], format)
    else:
        from nas.report.curve import draw_curve

        typer.echo(f"Epochs\n{draw_curve(curve)}\n")
    for name in ("error", "traceback", "log"):
        if facts[name]:
            typer.echo(f"{name.capitalize()}\n{facts[name].rstrip()}\n")


def _built(facts: Mapping[str, Any]) -> tuple[Rows, tuple[str, ...], str]:
    """What only building the network tells: its costs by part, and the names of its classes."""
    from nas.study.recorded import protocol_of

    try:
        protocol = protocol_of(facts["protocol"])
        names = about.names_of(protocol)
        return about.part_rows(facts["architecture"], protocol), names, ""
    except (BlockError, StoreError) as error:
        # Whoever reads another's store need not have their components.
        return [], (), f"Costs by part are not known here: {error}\n"


def _table(title: str, rows: Rows, format: str) -> None:
    if rows:
        heading = f"**{title}**\n\n" if format == "md" else ""
        typer.echo(heading + render(rows, format, title=title) + "\n")


def _draw(
    opened: Store,
    study: str,
    trial: int,
    target: Path,
    *,
    images: int,
    split: Split,
    root: str,
    folder: Path,
    device: str,
) -> None:
    from nas.report import overlays
    from nas.report.costs import chosen_device
    from nas.report.samples import check_picture
    from nas.study.trained import data_of, trained

    check_picture(target)
    found = trained(opened, study, trial, folder=folder, device=chosen_device(device))
    overlays.write_predictions(target, found, data_of(opened, found, root), split, images=images)
    typer.echo(f"Written to {target}", err=True)
