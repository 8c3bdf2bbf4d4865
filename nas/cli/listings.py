"""The verbs that list what the store holds: `studies`, `trials`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nas.report.tables import TYPESET, Rows, check_format, render, telling

if TYPE_CHECKING:
    from nas.store import Store

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URL", help="Where the results are: a path or a database URL. [default: NAS_STORE or nas.db]"
    ),
]
TypesetOption = Annotated[
    str, typer.Option("--format", metavar="table|json|csv|md|latex|html", help="How to print rows.")
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
    *("number", "state", "miou", "macs", "params", *_COMPONENTS, "epochs", "seed", "parent"),
    *("train_seconds", "exceeded", "exceeded_value", "exceeded_limit", "error"),
)


def studies(*, store: StoreOption = None, format: TypesetOption = "table") -> None:
    """List the studies in the store."""
    from nas.store.schema import STATES

    check_format(format, TYPESET)
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
    format: TypesetOption = "table",
) -> None:
    """List the trials of a study."""
    check_format(format, TYPESET)
    with _opened(store) as opened:
        rows = opened.trials(opened.find_study(study)["id"], where, states=state or None)
    _print(rows, format, columns=telling(rows, _TRIALS) if _for_people(format) else None)


def _opened(url: str | None) -> Store:
    from nas.store import Store

    return Store.open(url, create=False)


def _for_people(format: str) -> bool:
    return format not in ("json", "csv")


def _occurring(rows: Rows, columns: Iterable[str], *, silent: Sequence[object] = (None, "")) -> list[str]:
    """The columns in which some row says something; all of them when there are no rows."""
    return [name for name in columns if not rows or any(row.get(name) not in silent for row in rows)]


def _print(rows: Rows, format: str, *, columns: Sequence[str] | None = None, title: str = "") -> None:
    typer.echo(render(rows, format, columns=columns, title=title))
