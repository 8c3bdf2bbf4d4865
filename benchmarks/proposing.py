"""What it takes to propose a network when thousands are recorded: sampler, identity, cost gate and store together.

A store is filled with finished trials of a large space; then every sampler takes the study up and proposes, with a
result told between any two proposals.

    python -m benchmarks.proposing [--recorded 5000] [--proposals 20]
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.landscapes import epoch_of
from blocks.architecture import Architecture, Component
from blocks.options import complete
from nas.propose import OptunaProposer, Progress
from nas.propose.budget import built_cost
from nas.report.tables import render
from nas.space import SAMPLERS, Space
from nas.store import Store
from nas.study.work import info_of
from runners.protocol import Finished, Proposal, Protocol

SPACE = """
data: {shapes: {size: [64, 64]}}
architecture:
  backbone: {timm: {model: {choice: [resnet10t, resnet18, mobilenetv3_small_050, mobilenetv4_conv_small_050]}}}
  context:
    choice:
      none:
      ppm: {channels: {int: [32, 256], step: 32}, bins: {choice: [[1, 2, 3, 6], [1, 2, 4], [2, 6]]}}
      aspp: {channels: {int: [32, 256], step: 32}, rates: {choice: [[6, 12, 18], [3, 6, 9]]}}
      psa: {mode: {choice: [parallel, sequential]}}
  align: {bilinear: {mode: {choice: [sum, concat]}, channels: {int: [16, 256], step: 16}}}
  head: {choice: [linear, fcn, ssa]}
training: {epochs: 1, learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}
search: {sampler: random, trials: 100000, early_stopping: none}
"""


def scored(proposal: Proposal) -> float:
    """A made-up mIoU that depends on the network."""
    return random.Random(proposal.architecture.fingerprint).uniform(0.2, 0.6)


def guessed(architecture: Architecture, protocol: Protocol) -> Mapping[str, int]:
    """A made-up cost, so that a store is filled quickly."""
    macs = int(10 ** random.Random(f"{architecture.fingerprint} macs").uniform(7, 10))
    return {"params": macs // 50, "macs": macs, "macs_conv": macs, "activation_bytes": macs // 10}


def proposer_of(space: Space, store: Store, *, known: bool) -> OptunaProposer:
    """A proposer that goes on with the study; without `known`, costs are made up."""
    row = store.study("proposing")
    if row is None:
        study = store.create_study("proposing", space=space.text, objectives=space.objectives, budget={}, seed=0)
    else:
        study = int(row["id"])
    return OptunaProposer(
        space,
        store,
        study,
        data=info_of(space),
        data_fingerprint="none",
        progress=Progress(space.search.trials),
        prepare=lambda architecture: None,
        cost=built_cost if known else guessed,
    )


def carried_out(proposer: OptunaProposer, count: int) -> list[float]:
    """Propose and finish so many; return how long each proposal took. [s]"""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        proposal = proposer.propose()
        seconds.append(time.perf_counter() - began)
        assert proposal is not None
        proposer.epoch(proposal.trial, epoch_of(1, scored(proposal), 1.0))
        proposer.ended(proposal.trial, Finished())
    return seconds


def main() -> None:
    """Fill a store, then time every sampler on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recorded", type=int, default=5000)
    parser.add_argument("--proposals", type=int, default=20)
    parser.add_argument("--samplers", nargs="*", default=["random", "nsga2", "tpe", "surrogate", "gp"])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    with tempfile.TemporaryDirectory(prefix="nas-") as folder:
        space = Space.loads(SPACE)
        with Store.open(str(Path(folder) / "nas.db")) as store:
            carried_out(proposer_of(space, store, known=False), arguments.recorded)
            for name in arguments.samplers:
                sampler = Component.of(name, complete(SAMPLERS[name], {}, subject=f"search.sampler.{name}"))
                began = time.perf_counter()
                proposer = proposer_of(replace(space, search=replace(space.search, sampler=sampler)), store, known=True)
                taken_up = time.perf_counter() - began
                took = carried_out(proposer, arguments.proposals)
                rows.append(
                    {
                        "sampler": name,
                        "resumed after [s]": taken_up,
                        "median proposal [s]": median(took),
                        "longest [s]": max(took),
                    }
                )
                print(f"{name}: done", flush=True)
    print(render(rows, "table", title=f"{arguments.proposals} proposals on {arguments.recorded} recorded trials"))


if __name__ == "__main__":
    main()
