"""What a search finds for its epochs: ours, and what others offer, on simulated trainings.

Every strategy searches every landscape with the same seeds, four workers and the same number of epochs: synthetic
landscapes with crossing learning curves (`benchmarks/landscapes.py`), and recorded curves where a table of them is
given. What is measured is the hypervolume of the networks that were trained to their end, as a share of that of all
networks of the landscape (mIoU from 0, logarithm of the MACs), against the epochs that all trials together took.

    python -m benchmarks.search [--seeds 30] [--landscapes crossing late] [--curves camvid_curves.jsonl]
    python -m benchmarks.search --output runs.jsonl ...; python -m benchmarks.search --read runs.jsonl

Syne Tune is optional: `pip install 'segnas[bench]'`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks.landscapes import EPOCHS, RULES, Landscape
from benchmarks.strategies import Task, has_syne_tune, strategies
from nas.analysis.yardstick import Yardstick, at, reached
from nas.propose.candidates import protocol_of
from nas.report.simulations import interval
from nas.report.tables import render
from nas.space import Space
from nas.store import Store
from nas.study import simulation
from nas.study.curves import import_curves
from nas.study.work import info_of
from runners.protocol import Proposal

_HERE = Path(__file__).parent
_SHARES = (0.90, 0.95)
_NEVER = float("inf")
_SAMPLERS = ["random", "nsga2", "tpe", "surrogate"]


def recorded(table: Path) -> tuple[Space, simulation.Recorded, Yardstick, int]:
    """The recorded CamVid curves."""
    space = Space.load(_HERE / "camvid_curves.yaml")
    with tempfile.TemporaryDirectory(prefix="nas-") as folder:
        file = str(Path(folder) / "nas.db")
        import_curves(table, space, _HERE / "camvid_columns.yaml", study="camvid", store=file)
        with Store.open(file) as store:
            found = simulation.Recorded(store, "camvid")
    return space, found, Yardstick(found.finals(), space.objectives), 8


def synthetic(name: str) -> tuple[Space, Landscape, Yardstick, int]:
    """A synthetic landscape, and every network in it to measure against."""
    found = Landscape(name)
    info = info_of(found.space)
    rows = []
    for candidate in found.space.enumerate():
        protocol = protocol_of(found.space, candidate, info, "simulated")
        proposal = Proposal(trial=0, architecture=candidate.architecture, protocol=protocol, seed=0)
        rows.append({"miou": found.curve(proposal)[-1].miou, **found.cost(candidate.architecture, protocol)})
    return found.space, found, Yardstick(rows, found.space.objectives), EPOCHS


def measured(path: Sequence[float], spent: Sequence[int], most: int) -> dict[str, float]:
    """What one search has come to."""
    row = {f"at {part:g}": at(path, spent, most * part) for part in (0.25, 0.5, 1.0)}
    return row | {f"to {share:.0%}": reached(path, spent, share) or _NEVER for share in _SHARES}


def compared(runs: dict[str, list[dict[str, float]]]) -> list[dict[str, object]]:
    """A row for each strategy: means with 95 % intervals, medians of epochs, and their ratios to the first strategy."""
    first = next(iter(runs.values()))
    rows: list[dict[str, object]] = []
    for name, own in runs.items():
        row: dict[str, object] = {"strategy": name}
        for column in own[0]:
            values = [run[column] for run in own]
            if column.startswith("at"):
                low, high = interval(values)
                row[column] = f"{fmean(values):.3f} ±{(high - low) / 2:.3f}"
                continue
            spent, theirs = median(values), median(run[column] for run in first)
            row[column] = "never" if spent == _NEVER else f"{spent:.0f}"
            row[f"ratio {column}"] = "" if _NEVER in (spent, theirs) else f"{spent / theirs:.2f}"
        row["gain at 1"] = _gain(own, first)
        whole = runs.get(f"{name.partition(',')[0]}, no stopping", own)
        row["over no stopping"] = _gain(own, whole) if whole is not own else ""
        rows.append(row)
    return rows


def _in_order(runs: dict[str, list[dict[str, float]]]) -> dict[str, list[dict[str, float]]]:
    order = list(strategies(_SAMPLERS, 1, 2))
    return dict(sorted(runs.items(), key=lambda entry: order.index(entry[0]) if entry[0] in order else len(order)))


def _gain(own: list[dict[str, float]], theirs: list[dict[str, float]]) -> str:
    """What a strategy has more than another after all epochs, paired by seed."""
    paired = [run["at 1"] - other["at 1"] for run, other in zip(own, theirs, strict=True)]
    low, high = interval(paired)
    return f"{fmean(paired):+.3f} [{low:+.3f}, {high:+.3f}]"


def read(files: Sequence[Path]) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Runs that were written as lines: by landscape and strategy, in the order of their seeds."""
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    found: dict[str, dict[str, dict[int, dict[str, float]]]] = {}
    for line in lines:
        landscape, strategy, seed = line.pop("landscape"), line.pop("strategy"), line.pop("seed")
        found.setdefault(landscape, {}).setdefault(strategy, {})[seed] = line
    complete: dict[str, dict[str, list[dict[str, float]]]] = {}
    for name, by in found.items():
        seeds = sorted(max((runs.keys() for runs in by.values()), key=len))
        for strategy, runs in by.items():
            if sorted(runs) == seeds:
                complete.setdefault(name, {})[strategy] = [runs[seed] for seed in seeds]
            else:
                print(f"{name}: {strategy} is left out: it cannot be paired, seeds are missing", file=sys.stderr)
    return complete


def main() -> None:
    """Run every strategy on every landscape and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trainings", type=int, default=60, help="epochs of a search, in full schedules")
    parser.add_argument("--landscapes", nargs="*", default=list(RULES), choices=list(RULES))
    parser.add_argument("--curves", type=Path, help="a table like camvid_curves.jsonl, to search on it too")
    parser.add_argument("--samplers", nargs="*", default=_SAMPLERS)
    parser.add_argument("--only", nargs="*", default=[], help="strategies whose name holds one of these, and the first")
    parser.add_argument("--grace", type=int, default=2)
    parser.add_argument("--eta", type=int, default=2)
    parser.add_argument("--format", default="table")
    parser.add_argument("--output", type=Path, help="write each run as a line of JSON, too")
    parser.add_argument("--read", type=Path, nargs="+", help="run nothing: print the tables of such lines")
    arguments = parser.parse_args()
    if arguments.read:
        for name, runs in read(arguments.read).items():
            title = f"{name}: {len(next(iter(runs.values())))} seeds"
            print(render(compared(_in_order(runs)), arguments.format, title=title), flush=True)
        return
    warnings.simplefilter("ignore")
    if not has_syne_tune():
        print("Syne Tune is not installed: its MOASHA is left out (pip install 'segnas[bench]').", file=sys.stderr)
    landscapes: dict[str, Any] = {name: partial(synthetic, name) for name in arguments.landscapes}
    if arguments.curves is not None:
        landscapes["camvid"] = partial(recorded, arguments.curves)
    every = strategies(arguments.samplers, arguments.grace, arguments.eta)
    chosen = [t for n, t in enumerate(every) if not n or not arguments.only or any(o in t for o in arguments.only)]
    for name, made in landscapes.items():
        space, landscape, yardstick, schedule = made()
        most = arguments.trainings * schedule
        runs: dict[str, list[dict[str, float]]] = {title: [] for title in chosen}
        for title in chosen:
            for seed in range(arguments.seeds):
                task = Task(space=space, landscape=landscape, seed=seed, epochs=most, schedule=schedule)
                done = every[title](task)
                path = yardstick.path([found.values for found in done.found])
                runs[title].append(measured(path, [found.epochs for found in done.found], most))
                if arguments.output is not None:
                    line = {"landscape": name, "strategy": title, "seed": seed, **runs[title][-1]}
                    with arguments.output.open("a") as file:
                        file.write(json.dumps(line) + "\n")
            print(f"{name}: {title}", file=sys.stderr)
        title = f"{name}: {arguments.seeds} seeds, {most} epochs"
        print(render(compared(runs), arguments.format, title=title), flush=True)


if __name__ == "__main__":
    main()
