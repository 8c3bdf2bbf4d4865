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
    *("train_batch", "train_memory_bytes"),
)
_TRAINING = (
    "train_memory_bytes: foretold for a step of train_batch images: weights, moments, gradients, activations and "
    "losses; without cuDNN's workspaces, fragments and the CUDA context."
)
_GALLERY = (
    *("network", "data", "size", "miou_published", "params", "params_published", "params_difference"),
    *("macs", "macs_published", "macs_difference", "macs_conv", "macs_conv_published", "macs_conv_difference"),
    *("compared_with", "follows"),
)
_PUBLISHED = (
    "measured: counted from public code, without what only training needs; reported: as printed, with its rounding "
    "and its way of counting."
)
_CONVENTIONS = (
    "macs: multiply-accumulates of everything, attention included (FLOPs are twice that); "
    'macs_conv: convolutions and linear layers alone, printed as "GFLOPs" in many papers.'
)


def cost(
    space: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME", help="A space file, or a space that ships with nas; `published` for the whole gallery."
        ),
    ],
    *,
    size: Annotated[str, typer.Option(metavar="HxW", help="Input size; by default that of the space's data.")] = "",
    classes: Annotated[int, typer.Option(min=0, help="Classes told apart; 0 for those of the space's data.")] = 0,
    latency: Annotated[bool, typer.Option("--latency", help="Also measure latency and peak memory.")] = False,
    train_memory: Annotated[
        bool, typer.Option("--train-memory", help="Also foretell the memory of a training step, by the space's recipe.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where to measure: cpu, cuda or mps.")] = "cpu",
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 20,
    set: Annotated[list[str] | None, typer.Option(metavar="PATH=VALUE", help="Change a value of the file.")] = None,
    format: Annotated[str, typer.Option(help="table, json, csv or md.")] = "table",
) -> None:
    """Count parameters, MACs and activation memory of a space's networks, without training or allocating them."""
    check_format(format)
    wanted = _size(size)
    # These bring torch and timm, which `nas --help` must not wait for.
    from nas.report import costs, gallery
    from nas.space import Space

    if networks := gallery.folder(space):
        _gallery(space, gallery.gallery(networks), format)
        return
    if latency:
        costs.check_device(device)
    loaded = Space.load(space, sets=set or [])
    on = costs.input_of(loaded, size=wanted, classes=classes or None)
    training = costs.training_of(loaded, on) if train_memory else None
    rows, problems = costs.rows_of(loaded, on, limit=limit, device=device if latency else None, training=training)
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
        if train_memory:
            typer.echo(_TRAINING)
        if loaded.published and (compared := gallery.comparisons(loaded, rows, on)):
            title = f"Published: {loaded.published.follows}"
            typer.echo("\n" + render(compared, format, title=title))
            typer.echo("\n".join(filter(None, ["", _PUBLISHED, loaded.published.differs])))
    if count > len(rows):
        typer.echo(f"{len(rows)} of {count} architectures shown, drawn at random. --limit shows more.", err=True)
    for problem in problems:
        typer.echo(f"Not built: {problem}", err=True)


def _gallery(name: str, rows: list[dict[str, object]], format: str) -> None:
    """Print published networks, one row each."""
    if format in ("json", "csv"):
        typer.echo(render(rows, format))
        return
    title = f"{len(rows)} published networks"
    if format == "md":
        typer.echo(f"# {title}\n\nWritten by `nas cost {name} --format md`. {_PUBLISHED}\n")
    typer.echo(render(rows, format, columns=_GALLERY, title=title))
    typer.echo(f"\n{_CONVENTIONS}")
    told = [f"{row['network']}: {row['differs']}" for row in rows if row["differs"]]
    typer.echo("".join(f"\n- {line}" if format == "md" else f"\n{line}" for line in told))


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    if not (found := re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", text)):
        raise QueryError(law("--size", "height x width in pixels", {"size": text}, "Write it like 512x1024"))
    return int(found[1]), int(found[2])
