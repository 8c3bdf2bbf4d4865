"""The verb that brings results of others in: `nas import FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.listings import StoreOption


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Learning curves: one JSON object a line.")],
    *,
    space: Annotated[str, typer.Option("--space", metavar="SPACE", help="Whose questions the columns answer.")],
    columns: Annotated[
        Path, typer.Option("--columns", metavar="FILE", help="YAML that says which: `column: question`.")
    ],
    study: Annotated[str, typer.Option("--study", help="The name of the study to make.")],
    store: StoreOption = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change one value of the space; repeatable.")
    ] = None,
) -> None:
    """Import learning curves that other code has recorded, as a study: to look at, and to simulate searches on."""
    from nas.space import Space
    from nas.study.curves import import_curves

    count = import_curves(file, Space.load(space, sets or []), columns, study=study, store=store)
    typer.echo(f"{count} trials imported as {study} (nas front {study}, nas simulate SPACE --from {study})")
