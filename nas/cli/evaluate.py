"""`nas evaluate`: final figures of trained networks, on a split that the search never saw."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from blocks.errors import QueryError, law
from nas.cli.listings import FormatOption, StoreOption, StudyArgument
from nas.report.tables import check_format, render

FolderOption = Annotated[Path, typer.Option("--folder", help="Where the checkpoints are: what the sweep was told.")]
RootOption = Annotated[
    str, typer.Option("--root", metavar="PATH", help="Where the data lie. [default: what the study's space says]")
]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda or mps. [default: the best that is there]")]
Split = Literal["test", "val", "train"]
SplitOption = Annotated[Split, typer.Option("--split", help="Of the data set.")]

_SHOWN = ("number", "split", "samples", "miou", "search_miou", "pixel_accuracy", "macs", "params", "inference", "epoch")


def evaluate(
    study: StudyArgument,
    trial: Annotated[int | None, typer.Argument(metavar="TRIAL", help="The trial's number.")] = None,
    *,
    front: Annotated[bool, typer.Option("--front", help="Every trial on the front of the study.")] = False,
    split: SplitOption = "test",
    sliding: Annotated[
        bool, typer.Option("--sliding", help="Slide a window of the training size over images at their own size.")
    ] = False,
    flip: Annotated[bool, typer.Option("--flip", help="Average with the mirrored image.")] = False,
    multi_scale: Annotated[
        bool, typer.Option("--multi-scale", help="Average over six scales from 0.5 to 1.75.")
    ] = False,
    root: RootOption = "",
    folder: FolderOption = Path("nas_runs"),
    device: DeviceOption = "",
    store: StoreOption = None,
    format: FormatOption = "table",
) -> None:
    """Judge trained networks on a split that the search never saw; recorded apart from the search's own figures."""
    check_format(format)
    if (trial is None) != front:
        got = {"trial": trial, "front": front}
        raise QueryError(law("nas evaluate", "a trial's number or --front, not both", got, "See `nas front STUDY`"))
    from nas.report.costs import chosen_device
    from nas.report.live import counted
    from nas.store import Store
    from nas.study import evaluation
    from runners.inference import SCALES, Inference

    how = Inference(sliding=sliding, flip=flip, scales=SCALES if multi_scale else (1.0,))
    question = evaluation.Question(split=split, how=how, folder=folder, device=chosen_device(device), root=root)
    with Store.open(store, create=False) as opened:
        numbers = [trial] if trial is not None else evaluation.front_numbers(opened, study)
        rows = list(evaluation.evaluate(opened, study, numbers, question, shown=counted))
    people = format in ("table", "md")
    typer.echo(render(rows, format, columns=_SHOWN if people else None, title=f"{study}, judged on {split}"))
    if split != "test":
        typer.echo(f"The search has seen {split}: these figures flatter.", err=True)
