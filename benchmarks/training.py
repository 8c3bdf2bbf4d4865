"""Images per second of the recipe, in training and in evaluation, beside loops that do as little as possible.

    python -m benchmarks.training [--size 128x160] [--batch 8] [--steps 4] [--rounds 9] [--backbone resnet18]
    python -m benchmarks.training --device cuda --size 512x1024 --batch 16 --precision bfloat16 --loaders 8

All sides train a DeepLabV3+ (output stride 16, rates 12, 24 and 36, separable, 256 channels) on generated images:

    recipe      `runners.trial.Trial`: loader, augmentation, losses, schedule and book-keeping, as configured, but no
                clipping, which no side has
    bare        the same network, written by hand: the same loader and augmentation, the rate set by the same formula,
                AdamW in the same two groups, cross-entropy; the losses summed on the device
    in memory   the bare loop over augmented batches that lie in memory already
    pass        forward and backward alone, over and over on one batch on the device
    smp         segmentation_models.pytorch's DeepLabV3Plus on the same timm encoder in its documented loop: logits,
                loss, backward, step; with the loader and augmentation of the others, the images normalised, the same
                AdamW at a fixed rate, and cross-entropy. Its decoder has one separable convolution at
                stride 4, where the paper has two: ours, too, unless `--depth 2` asks for the paper's. Ours has norms
                between their halves, smp's has none
    smp last    the same with weights and images in torch's channels_last layout, which ours have as well

and evaluate one split: the recipe by `runners.evaluate.evaluate`, bare by argmax and one bincount a batch, smp by its
`get_stats` a batch and `iou_score` at the end. smp is left out where it is not installed.

The sides take turns, so many steps each, in an order that rotates with every round; the figures are medians over the
rounds, wall time and CPU time of the process. The first round warms up and is not counted.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from benchmarks.loops import Loop, by_smp, normalised
from blocks.architecture import Architecture, Component
from blocks.catalogue import completed
from blocks.network import Network
from blocks.options import complete
from runners.data import dataset
from runners.data.batches import Batch, Shuffled, plain_batches, to_device, training_batches
from runners.data.contract import DataSet
from runners.data.memory import in_memory
from runners.evaluate import evaluate
from runners.protocol import Proposal, Protocol, Work
from runners.training import Training
from runners.trial import Trial

Side = Callable[[], object]
_LAST = torch.channels_last
_ROUNDS = 10_000  # epochs of the schedule: more than are run
_VALIDATED = 4  # batches


def deeplab(backbone: str, depth: int) -> Architecture:
    """DeepLabV3+ with the numbers of smp's."""
    return completed(
        Architecture(
            backbone=Component.of("timm", {"model": backbone, "output_stride": 16}),
            context=Component.of("aspp", {"rates": (12, 24, 36), "separable": True}),
            align=Component.of("deeplab_plus", {"depth": depth}),
            head=Component.of("linear", {"dropout": 0.0}),
        )
    )


def proposal_of(given: argparse.Namespace) -> tuple[Proposal, DataSet]:
    """A training whose epochs have the steps of a turn."""
    height, width = given.size
    images = {"size": (height, width), "train": given.steps * given.batch, "val": _VALIDATED * given.batch}
    component = Component.of("shapes", images)
    data = dataset(component, {})
    options = {"epochs": _ROUNDS, "batch": given.batch, "precision": given.precision, "norms": "batch", "clip": 0.0}
    protocol = Protocol(
        data=component,
        data_fingerprint=data.fingerprint(),
        size=data.info.size,
        classes=data.info.classes,
        image_channels=3,
        training=tuple(sorted(complete(Training, options, subject="training").items())),
        main=(Component("cross_entropy"),),
        coarse=(),
    )
    return Proposal(trial=0, architecture=deeplab(given.backbone, given.depth), protocol=protocol, seed=0), data


class Sides:
    """All that takes turns, by name: what trains, and what evaluates."""

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        proposal, data = proposal_of(given)
        self.given, self.device, self.classes = given, torch.device(given.device), data.info.classes
        self.training, self.size = proposal.protocol.recipe(), data.info.size
        self.samples = in_memory(data, proposal.protocol.data, {}, 2 << 30)
        self.trial = Trial(
            proposal, Work(place={}, folder=folder, keep="none", loaders=given.loaders), data, self.device
        )
        self._known = [self.trial.epoch([])]  # warms up
        network = Network(proposal.architecture, size=self.size, classes=self.classes)
        self._bare = Loop(network, self.training, self.device)
        self._order, self._batches = self._loader()
        self._held = list(self._batches)
        self._one = to_device(self._held[0], self.device, _LAST)

    def _loader(self) -> tuple[Shuffled, DataLoader[Batch]]:
        split, pin = self.samples.split("train"), self.device.type == "cuda"
        return training_batches(split, self.training, 0, loaders=self.given.loaders, pin=pin)

    def _val(self) -> DataLoader[Batch]:
        split, pin = self.samples.split("val"), self.device.type == "cuda"
        return plain_batches(split, self.training.batch, loaders=self.given.loaders, pin=pin)

    def _recipe(self) -> None:
        self.trial._train_epoch(self._known)
        self._known.append(self._known[0])

    def _next(self, order: Shuffled, batches: DataLoader[Batch]) -> DataLoader[Batch]:
        order.epoch += 1
        return batches

    def train(self) -> dict[str, Side]:
        steps = self._order.steps
        sides: dict[str, Side] = {
            "recipe": self._recipe,
            "bare": lambda: self._bare.bare(self._next(self._order, self._batches), steps),
            "in memory": lambda: self._bare.bare(self._held, steps),
            "pass": lambda: self._bare.passes(self._one, self.given.steps),
        }
        sides |= {name: self._documented(loop) for name, loop in self._smp().items()}
        return sides

    def _documented(self, loop: Loop) -> Side:
        order, batches = self._loader()
        return lambda: loop.documented(self._next(order, batches), normalised)

    def _measured(self, loop: Loop) -> Side:
        batches = self._val()
        return lambda: by_smp(loop, batches, self.classes)

    def evaluation(self) -> dict[str, Side]:
        ours, bare = self._val(), self._val()
        judged = self.trial._fit.judged
        sides: dict[str, Side] = {
            "recipe": lambda: evaluate(judged, ours, classes=self.classes, device=self.device, memory_format=_LAST),
            "bare": lambda: self._bare.evaluate(bare, self.classes),
        }
        sides |= {name: self._measured(loop) for name, loop in self._smp().items()}
        return sides

    def _smp(self) -> dict[str, Loop]:
        if importlib.util.find_spec("segmentation_models_pytorch") is None:
            return {}
        from segmentation_models_pytorch import DeepLabV3Plus

        return {
            name: Loop(
                DeepLabV3Plus(f"tu-{self.given.backbone}", encoder_weights=None, classes=self.classes),
                self.training,
                self.device,
                layout,
            )
            for name, layout in {"smp": torch.contiguous_format, "smp last": _LAST}.items()
        }


def turns(sides: dict[str, Side], images: int, rounds: int, device: torch.device) -> dict[str, tuple[float, float]]:
    """The medians of each side: images per second of wall time, and of the process's CPU time."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            wait()
            wall, cpu = time.perf_counter(), time.process_time()
            sides[name]()
            wait()
            if number:
                found[name].append((images / (time.perf_counter() - wall), images / (time.process_time() - cpu)))
    return {name: (statistics.median(v[0] for v in f), statistics.median(v[1] for v in f)) for name, f in found.items()}


def show(title: str, figures: dict[str, tuple[float, float]]) -> None:
    ours = figures["recipe"]
    for name, (wall, cpu) in figures.items():
        print(f"{title:<10} {name:<10} {wall:9.2f} images/s {cpu:9.2f} images/CPU s", end="")
        beside = f"   recipe / {name}: {ours[0] / wall:.3f} wall, {ours[1] / cpu:.3f} CPU"
        print("" if name == "recipe" else beside, flush=True)


def utilisation(device: torch.device, busy: Side) -> str:
    """How busy the GPU is while our loop runs, by its driver, if that can be asked."""
    if device.type != "cuda" or importlib.util.find_spec("pynvml") is None:
        return "utilisation: not known (needs CUDA and pynvml)"
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            seen.append(torch.cuda.utilization(device))

    watcher = threading.Thread(target=look)
    watcher.start()
    for _ in range(5):
        busy()
    done.set()
    watcher.join()
    return f"utilisation: {statistics.median(seen or [0])} % of the time, the median of {len(seen)} looks"


def _size(text: str) -> tuple[int, int]:
    height, width = map(int, text.split("x"))
    return height, width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=_size, default=(128, 160), metavar="HxW", help="multiples of 16 for smp")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4, help="of a turn")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--backbone", default="resnet18", help="a model of timm")
    parser.add_argument("--depth", type=int, default=1, help="separable convolutions of our decoder")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--loaders", type=int, default=0, help="processes that load, of each side")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    device = torch.device(given.device)
    height, width = given.size
    print(
        f"DeepLabV3+ on {given.backbone}, {height}x{width}, batch {given.batch}, {given.precision}, {given.device}",
        end="",
    )
    print(
        f", {torch.get_num_threads()} threads, torch {torch.__version__}; {given.rounds} rounds of {given.steps} steps"
    )
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(given, Path(folder))
        training, evaluation = sides.train(), sides.evaluation()
        if "smp" not in training:
            print("smp is left out: segmentation_models_pytorch is not installed (pip install -e '.[bench]')")
        show("training", turns(training, given.steps * given.batch, given.rounds, device))
        show("evaluation", turns(evaluation, _VALIDATED * given.batch, given.rounds, device))
        print(utilisation(device, training["recipe"]))


if __name__ == "__main__":
    main()
