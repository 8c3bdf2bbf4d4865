"""Time to cost 50 random architectures: on the meta device, against a forward pass under fvcore's counter.

    python -m benchmarks.cost [--count 50] [--size 512x1024] [--classes 19]

The two take turns on the same architectures. Each line is one figure; the last is the ratio of the medians.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import sys
import time

import torch

from blocks.architecture import Architecture, Component
from blocks.cost import cost_of
from blocks.network import Network

BACKBONES = ("resnet18", "resnet50", "mobilenetv3_small_100", "efficientnet_b0", "convnext_atto", "regnety_002")
CONTEXTS = ("none", "ppm", "aspp", "psa")
ALIGNS = ("last", "bilinear", "ifa")
HEADS = ("linear", "ssa")


def architectures(count: int, seed: int = 0) -> list[Architecture]:
    """Draw architectures from the components that ship, each at its defaults."""
    chance = random.Random(seed)
    return [
        Architecture(
            backbone=Component.of("timm", {"model": chance.choice(BACKBONES)}),
            context=Component(chance.choice(CONTEXTS)),
            align=Component(chance.choice(ALIGNS)),
            head=Component(chance.choice(HEADS)),
        )
        for _ in range(count)
    ]


def count_here(architecture: Architecture, size: tuple[int, int], classes: int) -> float:
    """MACs by this project. [count]"""
    return cost_of(architecture, size=size, classes=classes).macs


def count_fvcore(architecture: Architecture, size: tuple[int, int], classes: int) -> float:
    """MACs by a real forward pass on the CPU under fvcore's counter, which calls them flops. [count]"""
    from fvcore.nn import FlopCountAnalysis

    network = Network(architecture, size=size, classes=classes).eval()
    with torch.no_grad():
        analysis = FlopCountAnalysis(network, torch.zeros(1, 3, *size))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return float(analysis.total())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--size", default="512x1024")
    parser.add_argument("--classes", type=int, default=19)
    given = parser.parse_args()
    try:
        import fvcore.nn  # noqa: F401
    except ImportError:
        sys.exit("This benchmark needs fvcore: pip install -e '.[bench]'")
    logging.disable(logging.WARNING)
    height, width = map(int, given.size.split("x"))
    ours: list[float] = []
    theirs: list[float] = []
    for architecture in architectures(given.count):
        for count, times in ((count_here, ours), (count_fvcore, theirs)):
            start = time.perf_counter()
            count(architecture, (height, width), given.classes)
            times.append(time.perf_counter() - start)
    threads = torch.get_num_threads()
    print(f"size {height}x{width} px, {given.classes} classes, {given.count} architectures, {threads} threads")
    print(f"meta device: {sum(ours):.2f} s in total, {statistics.median(ours):.4f} s the median")
    print(f"fvcore on the CPU: {sum(theirs):.2f} s in total, {statistics.median(theirs):.4f} s the median")
    print(f"ratio: {statistics.median(theirs) / statistics.median(ours):.1f}")


if __name__ == "__main__":
    main()
