"""The command `nas`: each verb parses, calls and renders; nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import sys

import typer

from blocks.errors import NasError
from nas.cli import ablate, blocks, cost, curves, data, fronts, listings, progress, space
from nas.cli.effects import effects
from nas.cli.evaluate import evaluate
from nas.cli.export import export
from nas.cli.report import report
from nas.cli.show import show
from nas.cli.simulate import simulate
from nas.cli.sweep import sweep
from nas.cli.table import table
from nas.cli.train import train
from nas.cli.weights import weights

app = typer.Typer(
    name="nas",
    help="Architecture search and ablation for semantic segmentation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    sweep,
    simulate,
    space.space,
    cost.cost,
    blocks.blocks,
    data.data,
    weights,
    listings.studies,
    listings.trials,
    fronts.front,
    progress.progress,
    progress.compare,
    effects,
    show,
    evaluate,
    export,
    ablate.ablate,
    train,
    table,
    report,
):
    app.command()(command)
app.command("import")(curves.import_)


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 nothing finished, 2 the user's mistake, 130 interrupted."""
    try:
        app()
    except NasError as error:
        print(f"nas: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # `nas trials | head` closes our output early; that is no error.
        sys.stderr.close()
        sys.exit(0)
