"""The verbs that read the store: `studies`, `trials`, `show`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from blocks.errors import QueryError, law
from nas.report.tables import Rows, check_format, human, render

if TYPE_CHECKING:
    from nas.store import Store

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URL", help="Where the results are: a path or a database URL. [default: NAS_STORE or nas.db]"
    ),
]
FormatOption = Annotated[str, typer.Option("--format", metavar="table|json|csv|md", help="How to print rows.")]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="CONDITION", help="Only such trials, e.g. \"params < 5e6 and context == 'ppm'\"."),
]
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.")]

_COMPONENTS: Final = ("backbone", "model", "context", "align", "refine", "head")
_STUDIES: Final = ("miou", "objectives", "seed", "created")
_TRIALS: Final = (
    *("number", "state", "miou", "macs", "params", *_COMPONENTS, "epochs", "seed"),
    *("train_seconds", "exceeded", "exceeded_value", "exceeded_limit", "error"),
)


def studies(*, store: StoreOption = None, format: FormatOption = "table") -> None:
    """List the studies in the store."""
    from nas.store.schema import STATES

    check_format(format)
    with _opened(store) as opened:
        rows = opened.studies()
    # States that no trial is in would only make a table wide.
    shown = ["name", "trials", *_occurring(rows, STATES, silent=(0,)), *_STUDIES]
    _print(rows, format, columns=shown if _for_people(format) else None)


def trials(
    study: StudyArgument,
    *,
    where: WhereOption = None,
    state: Annotated[list[str] | None, typer.Option("--state", help="Only trials in this state; repeatable.")] = None,
    store: StoreOption = None,
    format: FormatOption = "table",
) -> None:
    """List the trials of a study."""
    check_format(format)
    with _opened(store) as opened:
        rows = opened.trials(opened.find_study(study)["id"], where, states=state or None)
    _print(rows, format, columns=_occurring(rows, _TRIALS) if _for_people(format) else None)


def show(
    study: StudyArgument,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="The trial's number.")],
    *,
    epochs: Annotated[bool, typer.Option("--epochs", help="The curve alone: one row per epoch.")] = False,
    store: StoreOption = None,
    format: FormatOption = "table",
) -> None:
    """Show everything about one trial, its log included."""
    check_format(format)
    with _opened(store) as opened:
        found = opened.find_study(study)
        facts = opened.trial(found["id"], trial)
        if facts is None:
            numbers = [str(row["number"]) for row in opened.trials(found["id"], columns=["number"])]
            remedy = f"It has {len(numbers)}, up to {numbers[-1]}" if numbers else "It has none yet"
            raise QueryError(law(f"The study {study}", "a trial of that number", {"trial": trial}, remedy))
        curve, choices = opened.epochs(facts["id"]), opened.choices(facts["id"])
    if epochs:
        _print(curve, format)
    elif not _for_people(format):
        # A path never collides with a column: what could (`context`) says the same in both.
        _print([facts | {path: value for path, value in choices.items() if path not in facts}], format)
    else:
        _show(facts, choices, curve, format)


def _show(facts: Mapping[str, Any], choices: Mapping[str, Any], curve: list[dict[str, Any]], format: str) -> None:
    """Print one trial for people: what it is, what was chosen, how it went, what it said."""
    long = ("answers", "protocol", "architecture", "traceback", "log", "error", "class_iou")
    named = [{"fact": n, "value": human(n, v)} for n, v in facts.items() if n not in long and v is not None]
    parts = [("Trial", named), ("Chosen", [{"option": path, "value": value} for path, value in choices.items()])]
    scores = enumerate(facts["class_iou"] or ())
    parts.append(("Classes", [{"class": number, "iou": iou} for number, iou in scores]))
    parts.append(("Epochs", [{n: v for n, v in row.items() if n != "class_iou"} for row in curve]))
    for title, rows in parts:
        if rows:
            heading = f"**{title}**\n\n" if format == "md" else ""
            typer.echo(heading + render(rows, format, title=title) + "\n")
    for name in ("error", "traceback", "log"):
        if facts[name]:
            typer.echo(f"{name.capitalize()}\n{facts[name].rstrip()}\n")


def _opened(url: str | None) -> Store:
    from nas.store import Store

    return Store.open(url, create=False)


def _for_people(format: str) -> bool:
    return format in ("table", "md")


def _occurring(rows: Rows, columns: Iterable[str], *, silent: Sequence[object] = (None, "")) -> list[str]:
    """The columns in which some row says something; all of them when there are no rows."""
    return [name for name in columns if not rows or any(row.get(name) not in silent for row in rows)]


def _print(rows: Rows, format: str, *, columns: Sequence[str] | None = None, title: str = "") -> None:
    typer.echo(render(rows, format, columns=columns, title=title))
