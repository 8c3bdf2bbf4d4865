"""What orchestration costs per trial, with a recipe that does nothing.

Three searches over the same space, one after another, in alternating rounds on one local Ray: this project (sampling,
cost gate, identity, store, dashboard tables and all), Ray Tune with OptunaSearch as its documentation shows it, and the
same with actor reuse. Every worker imports torch and timm. What is timed is the whole search, from its start to its
end, Ray's own start excluded, divided by its trials.

    python benchmarks/overhead.py [--trials 20] [--rounds 3]
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
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # stay on loopback
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
import torch
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
  align: {bilinear: {channels: {choice: [16, 24, 32, 48, 64, 96]}}}
  head: {choice: [linear, ssa]}
training: {epochs: 1}
search: {sampler: tpe, trials: TRIALS, early_stopping: none}
"""


def nothing(proposal: Proposal, work: Work, data: DataSet, device: torch.device) -> Generator[Epoch, None, Outcome]:
    """The recipe that does nothing: one epoch with a made-up score."""
    import timm  # noqa: F401

    figures = {"loss": 0.0, "pixel_accuracy": 0.0, "learning_rate": 0.0, "seconds": 0.0}
    yield Epoch(epoch=1, miou=1 / (1 + proposal.trial), class_iou=(), train_memory_bytes=0, **figures)
    return Finished()


def ours(trials: int, folder: Path) -> float:
    """Seconds per trial of this project. [s]"""
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
        finished = len(store.trials(study, states=["finished"]))
    seconds = time.perf_counter() - start
    assert finished == trials, f"{finished} of {trials} trials finished"
    return seconds / trials


def documented(trials: int, folder: Path, *, reuse: bool) -> float:
    """Seconds per trial of Ray Tune with OptunaSearch. [s]"""

    def train(config: dict[str, Any]) -> None:
        import timm  # noqa: F401
        import torch  # noqa: F401

        tune.report({"miou": 1 / (1 + config["channels"])})

    space = {
        "model": tune.choice(["resnet10t", "resnet18", "mobilenetv3_small_050", "mobilenetv3_small_100"]),
        "context": tune.choice(["none", "ppm", "aspp", "psa"]),
        "channels": tune.choice([16, 24, 32, 48, 64, 96]),
        "head": tune.choice(["linear", "ssa"]),
    }
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="miou", mode="max", search_alg=OptunaSearch(), num_samples=trials, reuse_actors=reuse
        ),
        run_config=tune.RunConfig(storage_path=str(folder), name="documented", verbose=0),
    )
    start = time.perf_counter()
    results = tuner.fit()
    seconds = time.perf_counter() - start
    assert len(results) == trials and not results.errors, "a trial of Ray Tune failed"
    return seconds / trials


def main() -> None:
    """Alternate, take medians, print the ratios last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    searches: dict[str, Callable[[int, Path], float]] = {
        "segnas": ours,
        "Ray Tune + OptunaSearch": lambda trials, folder: documented(trials, folder, reuse=False),
        "Ray Tune + OptunaSearch, reuse_actors": lambda trials, folder: documented(trials, folder, reuse=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    with tempfile.TemporaryDirectory(prefix="nas-") as folder:
        ray.init(address="local", include_dashboard=False, log_to_driver=False, _temp_dir=folder)
        for number in range(arguments.rounds):
            for name, search in searches.items():
                place = Path(folder) / f"{len(seconds[name])}-{len(name)}"
                place.mkdir()
                seconds[name].append(search(arguments.trials, place))
                print(f"round {number + 1}: {name}: {seconds[name][-1]:.3f} s a trial", flush=True)
        ray.shutdown()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    own = medians.pop("segnas")
    for name, median in medians.items():
        print(f"segnas {own:.3f} s a trial, {name} {median:.3f} s a trial, ratio {own / median:.3f}")


if __name__ == "__main__":
    main()
