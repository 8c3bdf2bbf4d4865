"""`nas blocks`: what a space can be made of."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.report.tables import check_format, render


def blocks(
    slot: Annotated[
        str | None, typer.Argument(help="backbone, context, align, refine, head, loss; or samplers.")
    ] = None,
    name: Annotated[str | None, typer.Argument(help="A component of that slot.")] = None,
    format: Annotated[str, typer.Option(help="table, json, csv or md.")] = "table",
) -> None:
    """List the components of every slot, of one slot, or all about one component; or samplers and their defaults."""
    check_format(format)
    if slot in {"sampler", "samplers"} and name is None:
        from nas.report.samplers import sampler_rows

        typer.echo(render(sampler_rows(), format))
        return
    # The catalogue brings torch, which `nas --help` must not wait for.
    from nas.report import components

    if slot is None or name is None:
        typer.echo(render(components.component_rows(slot), format))
        return
    rows = components.option_rows(slot, name)
    if format == "json":
        typer.echo(render(rows, format))
        return
    rows = [row | {"default": components.written(row["default"])} for row in rows]
    if format != "table":
        typer.echo(render(rows, format))
        return
    typer.echo(f"{components.slot_of(slot)} {name}: {components.description(slot, name)}\n")
    # What an option means stands in the text above.
    columns = [column for column in ("option", "type", "default", "bounds", "when") if any(row[column] for row in rows)]
    typer.echo(render(rows, format, columns=columns, title="Options") if rows else "It has no options.")
