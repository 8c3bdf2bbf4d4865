"""How long training waits for its data: MobileNetV3-small on CamVid at 120x160, batch 8.

Four ways of making the same batches take turns, an epoch each, with the same network and the same augmentation:

- `at hand`: one batch over and over; what a step takes when there is nothing to wait for.
- `in turn`: each batch is made when it is asked for, in the training's own thread.
- `threads`: what `loaders: 0` does: threads of the same process make batches ahead.
- `loaders: 1`: one process of its own makes them.

The samples are decoded already, as they are from the second trial of a sweep on. Printed are medians over the rounds:
the share of a step that is spent waiting for its batch, and the time of a step as a ratio to that of `at hand`.

    OMP_NUM_THREADS=1 python -m benchmarks.pipeline --camvid PATH [--rounds 5] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple

import torch

from blocks.architecture import Architecture, Component
from blocks.catalogue import completed
from blocks.network import Network, Supervised
from runners.data import dataset
from runners.data.augment import augment, generator
from runners.data.batches import Shuffled, to_device, training_batches
from runners.data.loading import Batch
from runners.data.memory import in_memory
from runners.optimise import Fit
from runners.training import Training

BATCH = 8
WARM = 2  # steps before the clock counts
CPU = torch.device("cpu")


class Spent(NamedTuple):
    """Seconds of one step: waiting for its batch, and as a whole. [s]"""

    waiting: float
    whole: float


def network(classes: int, size: tuple[int, int], training: Training) -> Fit:
    """A MobileNetV3-small with a plain head, ready to train."""
    torch.manual_seed(0)
    architecture = Architecture(
        backbone=Component.of("timm", {"model": "mobilenetv3_small_100"}), align=Component("bilinear")
    )
    made = Network(completed(architecture), size=size, classes=classes, image_channels=3)
    supervised = Supervised(made, main=(Component("cross_entropy"),), coarse=())
    return Fit(supervised.to(memory_format=torch.channels_last), training, CPU)


def epoch(fit: Fit, batches: Iterable[Batch], steps: int) -> Spent:
    """Train so many steps; return the medians over them."""
    fit.supervised.train()
    spent: list[Spent] = []
    source = iter(batches)
    for step in range(steps):
        began = time.perf_counter()
        batch = next(source)
        waited = time.perf_counter() - began
        images, labels = to_device(batch, CPU, torch.channels_last)
        fit.step(images, labels, step=step, steps=steps)
        spent.append(Spent(waited, time.perf_counter() - began))
    # Sums, not medians of steps: a wait that comes now and then counts.
    waiting, whole = (sum(parts) for parts in zip(*spent[WARM:], strict=True))
    if isinstance(source, Generator):
        source.close()
    return Spent(waiting / (steps - WARM), whole / (steps - WARM))


def main() -> None:
    """Alternate, take medians, print shares and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", required=True, help="the data set's root")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=45, help="of each round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch, in this process")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    component, place = Component.of("camvid", {"size": (120, 160)}), {"root": arguments.camvid}
    data = in_memory(dataset(component, place), component, place, 2 << 30, None)
    split, training = data.split("train"), Training(batch=BATCH)
    fit = network(data.info.classes, data.info.size, training)
    orders = {
        name: training_batches(split, training, 0, loaders=n, pin=False) for name, n in (("threads", 0), ("1", 1))
    }

    def in_turn(order: Shuffled) -> Iterator[Batch]:
        for keys in order:
            made = [augment(*split[index], training, generator(0, number, index)) for number, index in keys]
            images, labels = zip(*made, strict=True)
            yield torch.stack(images), torch.stack(labels)

    order = orders["threads"][0]
    steps, one = min(arguments.steps, len(order)), next(in_turn(order))
    ways: dict[str, Callable[[], Iterable[Batch]]] = {
        "at hand": lambda: iter([one] * steps),
        "in turn": lambda: in_turn(order),
        "threads (loaders: 0)": lambda: orders["threads"][1],
        "loaders: 1": lambda: orders["1"][1],
    }
    spent: dict[str, list[Spent]] = {name: [] for name in ways}
    epoch(fit, ways["loaders: 1"](), steps)  # starts the process
    for number in range(1, arguments.rounds + 1):
        order.epoch = orders["1"][0].epoch = number
        for name, way in ways.items():
            spent[name].append(epoch(fit, way(), steps))
            waiting, whole = spent[name][-1]
            print(f"round {number}: {name}: {1000 * waiting:.1f} of {1000 * whole:.1f} ms", flush=True)
    print(f"{arguments.threads} threads of torch, {arguments.rounds} rounds of {steps} steps, medians")
    bare = statistics.median(one.whole for one in spent["at hand"])
    for name, rounds in spent.items():
        share = statistics.median(one.waiting / one.whole for one in rounds)
        whole = statistics.median(one.whole for one in rounds)
        print(f"{name:22} waits {share:6.1%} of a step; a step takes {whole / bare:.3f} of one at hand")


if __name__ == "__main__":
    main()
