"""What it saves to begin with another network's weights: the same search on CamVid twice, fresh and inheriting.

    python -m benchmarks.inherit --camvid PATH [--networks 12] [--epochs 6] [--folder nas_runs/inherit]

Networks that differ in backbone, context and head (with 24 of them in align, too) are trained in one order, with the
same seed and schedule: first each from its own random weights, then each from the weights that the nearest finished one
before it has for the parts which both have (`search.inherit`). Counted are the epochs after which the inheriting
network has the mIoU that the fresh one ends with. The first network has nobody to inherit from and is left out.

What is saved is saved after another network was trained: a network that inherits has those epochs behind it, too. And
networks that inherit from one another are no independent samples: the interval of the difference is rather too narrow.

A run that was interrupted goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from blocks.architecture import Architecture
from nas import Space, sweep
from nas.analysis.statistics import paired
from nas.propose import Progress
from nas.report.tables import render
from nas.store import Store
from nas.study.recorded import protocol_of
from runners.inheritance import in_common

STUDIES: Final = ("fresh", "inherited")

_FIXED: Final = "{bilinear: {channels: 32}}"

# Networks -> context, align, head. A grid asks for the backbone first, so that its turns are slowest.
QUESTIONS: Final[Mapping[int, tuple[str, str, str]]] = {
    4: ("{choice: [none, ppm]}", _FIXED, "linear"),
    12: ("{choice: [none, psa, ppm]}", _FIXED, "{choice: [linear, ssa]}"),
    24: (
        "{choice: [none, psa, ppm]}",
        "{choice: {bilinear: {channels: 32}, fpn: {channels: 32}}}",
        "{choice: [linear, ssa]}",
    ),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """One network, trained both ways.

    Args:
        name: what it is made of.
        parent: the number of the network whose weights it began with.
        share: of its parameters that came from there.
        fresh: mIoU after each epoch of the fresh start.
        inherited: the same, after the other start.
    """

    name: str
    parent: int
    share: float
    fresh: Sequence[float]
    inherited: Sequence[float]

    @property
    def reached(self) -> int | None:
        """The epoch after which it has what the fresh start ends with; None where it never has. [count]"""
        return next((n for n, miou in enumerate(self.inherited, start=1) if miou >= self.fresh[-1]), None)

    @property
    def difference(self) -> float:
        """Of the final mIoU, inherited minus fresh."""
        return self.inherited[-1] - self.fresh[-1]


def space_of(camvid: str, networks: int, epochs: int, subset: float, *, inherit: bool) -> Space:
    """The space of a grid of so many networks."""
    context, align, head = QUESTIONS[networks]
    text = f"""
name: inherit
data: {{camvid: {{root: {camvid!r}, size: [64, 96]}}}}
architecture:
  backbone: {{timm: {{model: {{choice: [mobilenetv3_small_050, lcnet_050]}}}}}}
  context: {context}
  align: {align}
  head: {head}
training: {{epochs: {epochs}, batch: 16, learning_rate: 3.0e-3, jitter: 0.0, subset: {subset}}}
search: {{sampler: grid, trials: {networks}, early_stopping: none, inherit: {str(inherit).lower()}}}
"""
    return Space.loads(text)


def run(spaces: Mapping[str, Space], folder: Path) -> None:
    """Train what is not recorded yet, without looking up in one study what another has trained."""
    url = str(folder / "nas.db")
    for name, space in spaces.items():
        with Store.open(url) as store:
            begun = store.study(name) is not None
        told = Progress(space.search.trials, say=partial(print, f"{name}:", flush=True))
        study = sweep(
            space, study=name, store=url, runner="local", folder=folder, fresh=True, resume=begun, progress=told
        )
        if study.interrupted:
            raise SystemExit("Interrupted: give the same command again to go on.")


def pairs(folder: Path) -> list[Pair]:
    """Every network that inherited, with both of its curves."""
    with Store.open(str(folder / "nas.db"), create=False) as store:
        fresh, inherited = (store.find_study(name)["id"] for name in STUDIES)
        found = []
        for row in store.trials(inherited, states=("finished",)):
            if row["parent"] is None:
                continue
            own, parent, other = (
                store.find_trial(study, number)
                for study, number in ((inherited, row["number"]), (inherited, row["parent"]), (fresh, row["number"]))
            )
            assert own["architecture"] == other["architecture"]  # a grid has one order
            value, near = (Architecture.from_canonical(each["architecture"]) for each in (own, parent))
            count = in_common(value, near, protocol_of(own["protocol"]))
            curves = [[epoch["miou"] for epoch in store.epochs(each["id"])] for each in (other, own)]
            found.append(Pair(value.summary(), row["parent"], count / row["params"], *curves))
        return found


def report(found: Sequence[Pair], epochs: int) -> None:
    """Print each pair, and what they come to."""
    rows = [
        {
            "network": pair.name,
            "parent": pair.parent,
            "parameters_taken": f"{pair.share:.0%}",
            "miou_fresh": round(pair.fresh[-1], 4),
            "miou_inherited": round(pair.inherited[-1], 4),
            "difference": pair.difference,
            "miou_after_1": round(pair.inherited[0], 4),
            "epochs_to_reach": pair.reached or f"over {epochs}",
        }
        for pair in found
    ]
    print(render(rows, "md"))
    # A network that never reaches it counts as worse than any that does: the median needs no more.
    median = statistics.median(math.inf if pair.reached is None else pair.reached for pair in found)
    never = sum(pair.reached is None for pair in found)
    said = f"{median:g} of {epochs}" if median < math.inf else f"over {epochs}"
    print(f"\nEpochs to reach the mIoU of a fresh start: median {said} over {len(found)} networks; {never} never did.")
    test = paired(*({n: curve(pair)[-1] for n, pair in enumerate(found)} for curve in (_inherited, _fresh)))
    if test is not None:
        interval = "" if test.low is None else f", 95 % interval {test.low:+.4f} to {test.high:+.4f}"
        print(f"Final mIoU, inherited minus fresh: mean {test.mean:+.4f}{interval} (paired, {test.n} networks).")


def _inherited(pair: Pair) -> Sequence[float]:
    return pair.inherited


def _fresh(pair: Pair) -> Sequence[float]:
    return pair.fresh


def main() -> None:
    """Read the command line, train, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", required=True, metavar="PATH", help="the folder that holds `images` and `labels`")
    parser.add_argument("--networks", type=int, default=12, choices=sorted(QUESTIONS))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--subset", type=float, default=1.0, help="share of the training images")
    parser.add_argument("--folder", type=Path, default=Path("nas_runs/inherit"), help="of the store and checkpoints")
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    root = str(Path(asked.camvid).expanduser().absolute())
    spaces = {
        name: space_of(root, asked.networks, asked.epochs, asked.subset, inherit=name == "inherited")
        for name in STUDIES
    }
    run(spaces, folder)
    report(pairs(folder), asked.epochs)


if __name__ == "__main__":
    main()
