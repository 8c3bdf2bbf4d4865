"""What orchestration costs per trial, with a recipe that does nothing.

Searches over the same space, one after another, in alternating rounds on one local Ray: this project (sampling, cost
gate, identity, store, dashboard tables and all); Ray Tune with OptunaSearch as its documentation shows it, with one
objective and its study in memory; the same with actor reuse; and that with what this project does, too: two
objectives, the same sampler, and Optuna's study in an SQLite file that a dashboard can open. Every worker imports torch
and timm. What is timed is the whole search, from its start to its end, Ray's own start excluded, divided by its trials;
and what a trial takes after start-up: the time between the end of the tenth trial and of the last, divided by the
trials between. Without actor reuse every trial takes the same, so that search may be shorter.

    python -m benchmarks.overhead [--trials 200] [--plain 40] [--rounds 3]
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # stay on loopback
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
import torch
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from nas.propose import Mirror, OptunaProposer, Progress
from nas.space import Space
from nas.store import Store
from nas.study import work_of
from runners.data import DataSet, dataset
from runners.protocol import Epoch, Finished, Outcome, Proposal, Work
from runners.ray_tune import RayRunner

SPACE = """
data: {shapes: {size: [64, 64]}}
architecture:
  backbone: {timm: {model: {choice: [resnet10t, resnet18, mobilenetv3_small_050, mobilenetv3_small_100]}}}
  context: {choice: [none, ppm, aspp, psa]}
  align: {bilinear: {channels: {int: [16, 128], step: 8}}}
  head: {choice: [linear, ssa]}
training: {epochs: 1}
search: {sampler: tpe, trials: TRIALS, early_stopping: none}
"""


STARTED = 10  # trials after which every worker is warm


class Timed(NamedTuple):
    """Seconds per trial: of the whole search, and after its workers have started. [s]"""

    whole: float
    warm: float


def timed(seconds: float, ends: list[float]) -> Timed:
    """From the length of a search and the moments at which its trials ended. [s]"""
    ends = sorted(ends)
    return Timed(seconds / len(ends), (ends[-1] - ends[STARTED - 1]) / (len(ends) - STARTED))


def nothing(proposal: Proposal, work: Work, data: DataSet, device: torch.device) -> Generator[Epoch, None, Outcome]:
    """The recipe that does nothing: one epoch with a made-up score."""
    import timm  # noqa: F401

    figures = {"loss": 0.0, "pixel_accuracy": 0.0, "learning_rate": 0.0, "seconds": 0.0}
    yield Epoch(epoch=1, miou=1 / (1 + proposal.trial), class_iou=(), train_memory_bytes=0, **figures)
    return Finished()


def ours(trials: int, folder: Path) -> Timed:
    """Seconds per trial of this project."""
    space = Space.loads(SPACE.replace("TRIALS", str(trials)))
    work, data = work_of(space, folder), dataset(space.data, {})
    start = time.perf_counter()
    with Store.open(str(folder / "nas.db")) as store:
        study = store.create_study("overhead", space=space.text, objectives=space.objectives, budget={}, seed=0)
        mirror = Mirror(store.url, "overhead", space.objectives)
        proposer = OptunaProposer(
            space,
            store,
            study,
            data=data.info,
            data_fingerprint=data.fingerprint(),
            progress=Progress(trials),
            mirror=mirror,
        )
        RayRunner(work, space.data, recipe=nothing).run(proposer)
        mirror.close()
        finished = store.trials(study, states=["finished"])
    seconds = time.perf_counter() - start
    assert len(finished) == trials, f"{len(finished)} of {trials} trials finished"
    return timed(seconds, [trial["ended"].timestamp() for trial in finished])


def documented(trials: int, folder: Path, *, reuse: bool, kept: bool = False) -> Timed:
    """Seconds per trial of Ray Tune with OptunaSearch.

    Args:
        trials: how many. [count]
        folder: for all that is written.
        reuse: workers go on with the next trial.
        kept: with this project's objectives and sampler, and a study that outlives the search.
    """

    def train(config: dict[str, Any]) -> None:
        import timm  # noqa: F401
        import torch  # noqa: F401

        score = 1 / (1 + config["channels"])
        tune.report({"miou": score, "macs": config["channels"], "ended": time.time()})

    space = {
        "model": tune.choice(["resnet10t", "resnet18", "mobilenetv3_small_050", "mobilenetv3_small_100"]),
        "context": tune.choice(["none", "ppm", "aspp", "psa"]),
        "channels": tune.qrandint(16, 128, 8),
        "head": tune.choice(["linear", "ssa"]),
    }
    search, single = OptunaSearch(), {"metric": "miou", "mode": "max"}
    if kept:
        sampler = TPESampler(multivariate=True, group=True)
        storage = RDBStorage(f"sqlite:///{folder / 'optuna.db'}")
        aims: dict[str, Any] = {"metric": ["miou", "macs"], "mode": ["max", "min"]}
        search, single = OptunaSearch(**aims, sampler=sampler, storage=storage), {}
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(search_alg=search, num_samples=trials, reuse_actors=reuse, **single),
        run_config=tune.RunConfig(storage_path=str(folder), name="documented", verbose=0),
    )
    start = time.perf_counter()
    results = tuner.fit()
    seconds = time.perf_counter() - start
    assert len(results) == trials and not results.errors, "a trial of Ray Tune failed"
    return timed(seconds, [result.metrics["ended"] for result in results])


def main() -> None:
    """Alternate, take medians, print the ratios last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--plain", type=int, default=40, help="trials of the search without actor reuse")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    searches: dict[str, tuple[int, Callable[[int, Path], Timed]]] = {
        "segnas": (arguments.trials, ours),
        "Ray Tune + OptunaSearch": (arguments.plain, lambda trials, at: documented(trials, at, reuse=False)),
        "Ray Tune + OptunaSearch, reuse_actors": (
            arguments.trials,
            lambda trials, at: documented(trials, at, reuse=True),
        ),
        "the same search, kept in SQLite, reuse_actors": (
            arguments.trials,
            lambda trials, at: documented(trials, at, reuse=True, kept=True),
        ),
    }
    seconds: dict[str, list[Timed]] = {name: [] for name in searches}
    with tempfile.TemporaryDirectory(prefix="nas-") as folder:
        ray.init(address="local", include_dashboard=False, log_to_driver=False, num_cpus=2, _temp_dir=folder)
        for number in range(arguments.rounds):
            for name, (trials, search) in searches.items():
                place = Path(folder) / f"{len(seconds[name])}-{len(name)}"
                place.mkdir()
                seconds[name].append(search(trials, place))
                whole, warm = seconds[name][-1]
                print(f"round {number + 1}: {name}: {whole:.3f} s a trial, {warm:.3f} s after start-up", flush=True)
        ray.shutdown()
    print("medians, in seconds a trial")
    medians = {name: Timed(*map(statistics.median, zip(*runs, strict=True))) for name, runs in seconds.items()}
    own = medians["segnas"]
    for name, (trials, _) in searches.items():
        whole, warm = medians[name]
        print(
            f"{name} ({trials} trials): whole {whole:.3f} (ratio {own.whole / whole:.3f}),"
            f" after start-up {warm:.3f} (ratio {own.warm / warm:.3f})"
        )


if __name__ == "__main__":
    main()
