"""`nas export`: a trained network for use elsewhere, or a whole study as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blocks.errors import QueryError, law, nearest
from nas.cli.evaluate import FolderOption
from nas.cli.listings import StoreOption, StudyArgument
from nas.report.exports import FORMATS, NETWORKS, SPACE, TABLES

if TYPE_CHECKING:
    from nas.store import Store

_TEXTS = (SPACE, "csv", "json")


def export(
    study: StudyArgument,
    trial: Annotated[
        int | None, typer.Argument(metavar="TRIAL", help="The trial's number; without it, all trials as a table.")
    ] = None,
    *,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="|".join(FORMATS),
            help="Of a trial: pt2, onnx, safetensors, python or yaml. Of a study: csv, parquet or json.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; text is printed without it.")
    ] = None,
    folder: FolderOption = Path("nas_runs"),
    store: StoreOption = None,
) -> None:
    """Write a trained network for use elsewhere, its YAML, or all trials of a study."""
    from nas.store import Store

    _check(format, trial, output)
    if output is not None:
        from nas.report.exports.files import check_target

        check_target(output)
    with Store.open(store, create=False) as opened:
        if trial is None:
            _table(opened, study, format, output)
        elif format == SPACE:
            _space(opened, study, trial, output)
        else:
            assert output is not None  # `_check` has seen to it
            typer.echo(_network(opened, study, trial, format, output, folder=folder), err=True)
    if output is not None:
        typer.echo(f"Written to {output}", err=True)


def _check(format: str, trial: int | None, output: Path | None) -> None:
    """Refuse what makes no sense together, before any work is done."""
    if format not in FORMATS:
        needs = "one of " + ", ".join(FORMATS)
        raise QueryError(law("--format", needs, {"format": format}, nearest(format, FORMATS)))
    if (trial is None) != (format in TABLES):
        needs = "no trial's number" if format in TABLES else "a trial's number"
        remedy = f"Tables of a study: {', '.join(TABLES)}. Networks: {', '.join((*NETWORKS, SPACE))}"
        raise QueryError(law(f"--format {format}", needs, {"trial": trial}, remedy))
    if output is None and format not in _TEXTS:
        raise QueryError(law(f"--format {format}", "a file to write to", {"output": None}, f"Add -o FILE.{format}"))


def _table(opened: Store, study: str, format: str, output: Path | None) -> None:
    from nas.report.exports.files import write
    from nas.report.exports.tables import table

    content = table(opened.with_choices(opened.find_study(study)["id"]), format)
    if output is None:
        typer.echo(content, nl=False)
    else:
        write(output, content)


def _space(opened: Store, study: str, trial: int, output: Path | None) -> None:
    from nas.report.exports.files import write
    from nas.report.exports.space_file import space_file

    found = opened.find_study(study)
    text = space_file(found, opened.find_trial(found["id"], trial))
    if output is None:
        typer.echo(text, nl=False)
    else:
        write(output, text)


def _network(opened: Store, study: str, trial: int, format: str, output: Path, *, folder: Path) -> str:
    """Write a network and say what is to be known of it."""
    import torch

    from nas.report.exports import graphs, weights
    from nas.study.trained import trained

    found = trained(opened, study, trial, folder=folder, device=torch.device("cpu"))
    if format == "python":
        return f"Its weights are in {weights.write_python(output, found)}"
    if format == "safetensors":
        weights.write_safetensors(output, found)
        return f"Weights after epoch {found.epoch}, by the names of Network.state_dict()"
    written = graphs.write_onnx(output, found) if format == "onnx" else graphs.write_pt2(output, found)
    return f"Checked: {written.words}"
