"""What a training step holds at its peak: foretold without weights, and measured with them.

    python -m benchmarks.memory [--size 64x64] [--batch 4] [--precision float32] [--networks 6]
    python -m benchmarks.memory --device cuda --size 512x1024 --batch 8 --precision bfloat16

A line a network: the forecast of `runners.memory.foretold`, the measurement of `runners.memory.measured` (on the CPU
all live tensors, on CUDA the allocator's high-water mark), and their ratio; the last line has the extremes.
"""

from __future__ import annotations

import argparse

import torch

from blocks.architecture import Architecture, Component
from blocks.catalogue import completed
from blocks.options import complete
from runners.memory import foretold, measured
from runners.protocol import Protocol
from runners.training import Training


def timm(model: str) -> Component:
    return Component.of("timm", {"model": model})


NETWORKS = {
    "resnet18, aspp, deeplab_plus": Architecture(
        backbone=timm("resnet18"), context=Component("aspp"), align=Component("deeplab_plus")
    ),
    "mobilenetv3_small, ppm": Architecture(backbone=timm("mobilenetv3_small_100"), context=Component("ppm")),
    "stdc1, ffm": Architecture(backbone=Component("stdc1"), align=Component("ffm")),
    "mit": Architecture(backbone=Component("mit"), align=Component("bilinear")),
    "resnet18, ocr": Architecture(backbone=timm("resnet18"), context=Component("ocr")),
    "bisenetv2, bga": Architecture(backbone=Component("bisenetv2"), align=Component("bga")),
    "resnet18, danet": Architecture(backbone=timm("resnet18"), context=Component("danet")),
    "resnet18, ssa": Architecture(backbone=timm("resnet18"), head=Component("ssa")),
    "mscan, ham": Architecture(backbone=Component("mscan"), context=Component("ham")),
    "convnext_atto, fpn": Architecture(backbone=timm("convnext_atto"), align=Component("fpn")),
    "regnety_002, flow": Architecture(backbone=timm("regnety_002"), align=Component("flow")),
    "efficientnet_b0, non_local": Architecture(backbone=timm("efficientnet_b0"), context=Component("non_local")),
    "resnet18, ppm, uper": Architecture(backbone=timm("resnet18"), context=Component("ppm"), align=Component("uper")),
}


def protocol_of(size: tuple[int, int], classes: int, options: dict[str, object]) -> Protocol:
    """Cross-entropy on whatever logits a network has."""
    return Protocol(
        data=Component("shapes"),
        data_fingerprint="",
        size=size,
        classes=classes,
        image_channels=3,
        training=tuple(sorted(complete(Training, options, subject="training").items())),
        main=(Component("cross_entropy"),),
        coarse=(Component("cross_entropy"),),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="64x64", metavar="HxW")
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--optimizer", choices=("adamw", "sgd"), default="adamw")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--networks", type=int, default=len(NETWORKS), help="the first so many")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    height, width = map(int, given.size.split("x"))
    options = {"batch": given.batch, "optimizer": given.optimizer, "precision": given.precision}
    protocol = protocol_of((height, width), given.classes, options)
    print(f"{height}x{width}, {given.classes} classes, {options}, {given.device}, torch {torch.__version__}")
    ratios = []
    for name, network in list(NETWORKS.items())[: given.networks]:
        expected = foretold(completed(network), protocol).peak
        if given.device != "cpu":
            torch.cuda.empty_cache()
        found = measured(completed(network), protocol, torch.device(given.device)).peak
        ratios.append(expected / found)
        print(
            f"{name:<30} foretold {expected / 1e6:9.1f} MB  measured {found / 1e6:9.1f} MB  {ratios[-1]:.3f}",
            flush=True,
        )
    print(f"foretold over measured: {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
