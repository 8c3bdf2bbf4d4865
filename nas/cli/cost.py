"""`nas cost`: what the networks of a space cost before anything is trained."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from blocks.errors import QueryError, law
from nas.report.tables import check_format, render

_SHOWN = (
    *("backbone", "context", "align", "refine", "head"),
    *("params", "macs", "macs_conv", "activation_bytes", "latency_ms", "peak_memory_bytes"),
)
_CONVENTIONS = (
    "macs: multiply-accumulates of everything, attention included (FLOPs are twice that); "
    'macs_conv: convolutions and linear layers alone, printed as "GFLOPs" in many papers.'
)


def cost(
    space: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A space file, or a space that ships with nas.")],
    *,
    size: Annotated[str, typer.Option(metavar="HxW", help="Input size; by default that of the space's data.")] = "",
    classes: Annotated[int, typer.Option(min=0, help="Classes told apart; 0 for those of the space's data.")] = 0,
    latency: Annotated[bool, typer.Option("--latency", help="Also measure latency and peak memory.")] = False,
    device: Annotated[str, typer.Option(help="Where to measure: cpu, cuda or mps.")] = "cpu",
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 20,
    set: Annotated[list[str] | None, typer.Option(metavar="PATH=VALUE", help="Change a value of the file.")] = None,
    format: Annotated[str, typer.Option(help="table, json, csv or md.")] = "table",
) -> None:
    """Count parameters, MACs and activation memory of a space's networks, without training or allocating them."""
    check_format(format)
    wanted = _size(size)
    # These bring torch and timm, which `nas --help` must not wait for.
    from nas.report import costs
    from nas.space import Space

    if latency:
        costs.check_device(device)
    loaded = Space.load(space, sets=set or [])
    on = costs.input_of(loaded, size=wanted, classes=classes or None)
    rows, problems = costs.rows_of(loaded, on, limit=limit, device=device if latency else None)
    if problems and not rows:
        raise problems[0]
    count = loaded.count()
    if format in ("json", "csv"):
        typer.echo(render(rows, format))
    else:
        columns = costs.together(rows, _SHOWN)
        typer.echo(render(rows, format, columns=columns, title=f"{loaded.name}: {len(rows)} of {count} architectures"))
        height, width = on.size
        typer.echo(f"\nInput {on.image_channels}x{height}x{width}, {on.classes} classes. {_CONVENTIONS}")
    if count > len(rows):
        typer.echo(f"{len(rows)} of {count} architectures shown, drawn at random. --limit shows more.", err=True)
    for problem in problems:
        typer.echo(f"Not built: {problem}", err=True)


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    if not (found := re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", text)):
        raise QueryError(law("--size", "height x width in pixels", {"size": text}, "Write it like 512x1024"))
    return int(found[1]), int(found[2])
