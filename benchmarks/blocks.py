"""What every component costs, in the time of one 3x3 convolution 512 -> 512 on 2x512x64x64 in the same run.

    python -m benchmarks.blocks [NAME ...] [--reference FOLDER] [--docs docs] [--device cpu]

A NAME is a component (ocr) or a published module (ocr_head_mmseg); without any, all are run. Each component is run at
its defaults on 2x512x64x64; with the folder of reference facts (`blocks.json`, `speed.json`, `golden/`), each published
module is also run at its published arguments and compared with what its authors' code does. `--docs` files the rows in
contexts.json and writes contexts.md from all that are filed there.

One thread. The convolution is run before every pass of a module, and medians are divided.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from benchmarks.published import PUBLISHED, Published
from benchmarks.published.case import Called
from benchmarks.published.page import write
from blocks.architecture import Component
from blocks.catalogue import catalogue
from blocks.cost import cost_of_module
from blocks.features import FeatureMap, Features, Shapes
from blocks.measure import peak_bytes
from blocks.network import build_stage

SLOTS = ("context", "align", "head")
# What a backbone of output stride 8 hands on for an image of 512x512.
LEVELS = (FeatureMap(256, 4), FeatureMap(256, 8), FeatureMap(512, 8))
Row = dict[str, Any]
Call = Callable[[], Any]


def facts(folder: Path | None) -> dict[str, Row]:
    """What is known of each published module, its time included."""
    if folder is None:
        return {}
    speed = json.loads((folder / "speed.json").read_text())["ratio"]
    known = json.loads((folder / "blocks.json").read_text())
    return {entry["name"]: entry | {"speed": speed.get(entry["name"], {})} for entry in known}


def at_defaults(slot: str, name: str, device: torch.device) -> tuple[nn.Module, list[Any]]:
    """A component at its defaults, and the features that it reads."""
    source = Shapes(size=(512, 512), classes=19, pyramid=LEVELS, map=LEVELS[-1] if slot == "head" else None)
    maps = tuple(torch.randn(2, c, 512 // stride, 512 // stride, device=device) for c, stride in LEVELS)
    f = Features(torch.rand(2, 3, 512, 512, device=device), pyramid=maps, map=maps[-1] if slot == "head" else None)
    return build_stage(slot, Component(name), source), [f]


def timed(call: Call, beside: Call, *, device: torch.device, seconds: float) -> float:
    """The median time of a call over that of another, taking turns."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times: tuple[list[float], list[float]] = ([], [])
    call(), beside()
    end = time.perf_counter() + seconds
    while len(times[0]) < 3 or (len(times[0]) < 25 and time.perf_counter() < end):
        for one, taken in zip((beside, call), times, strict=True):
            wait()
            start = time.perf_counter()
            one()
            wait()
            taken.append(time.perf_counter() - start)
    return statistics.median(times[1]) / statistics.median(times[0])


def passes(module: nn.Module, inputs: list[Any], call: Callable[..., Any] | None) -> tuple[Call, Call]:
    """A forward pass in eval mode, and one forward and backward in train mode."""
    wanted = [t.requires_grad_() for t in tree_leaves(inputs) if isinstance(t, Tensor)]
    run = (lambda: call(module, *inputs)) if call else (lambda: module(*inputs))

    def forward() -> None:
        module.eval()
        with torch.no_grad():
            run()

    def train() -> None:
        module.train()
        before = {id(t) for t in wanted}
        outputs = [t for t in tree_leaves(run()) if isinstance(t, Tensor) and t.requires_grad and id(t) not in before]
        torch.autograd.backward(outputs, [torch.ones_like(t) for t in outputs])
        for tensor in (*module.parameters(), *wanted):
            tensor.grad = None

    return forward, train


def measured(
    module: nn.Module, inputs: list[Any], call: Callable[..., Any] | None, *, device: torch.device, seconds: float
) -> Row:
    """Size, cost, time and memory of a module."""
    module.to(device)
    conv = nn.Conv2d(512, 512, 3, padding=1, bias=False).to(device)
    yardstick = passes(conv, [torch.randn(2, 512, 64, 64, device=device)], None)
    forward, train = passes(module, inputs, call)
    own = [*module.parameters(), *module.buffers(), *(t for t in tree_leaves(inputs) if isinstance(t, Tensor))]
    cost = cost_of_module(Called(module, call), *inputs)
    return {
        "params": cost.params,
        "macs_conv": cost.macs_conv,
        "macs_attention": cost.macs - cost.macs_conv,
        "forward": round(timed(forward, yardstick[0], device=device, seconds=seconds), 3),
        "train": round(timed(train, yardstick[1], device=device, seconds=seconds), 3),
        "peak_forward_bytes": peak_bytes(forward, own, device),
        "peak_train_bytes": peak_bytes(train, own, device),
    }


def recorded_error(name: str, case: Published, folder: Path) -> float | None:
    """The largest relative difference from the recorded outputs, or None where nothing is recorded."""
    file = folder / "golden" / f"{case.file or name}.safetensors"
    if case.recorded is None or not file.exists():
        return None
    spec = importlib.util.spec_from_file_location("compare", folder / "compare.py")
    assert spec and spec.loader
    compare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compare)
    result = compare.compare(file, case.recorded(), case.call)
    if not result["ok"]:
        raise SystemExit(f"{name} differs from its recorded case: {result}")
    return float(result["error"])


def rows(names: set[str], reference: Path | None, *, device: torch.device, seconds: float) -> Iterator[Row]:
    known = facts(reference)
    for name, case in PUBLISHED.items():
        if known and (not names or names & {name, case.component}):
            fact = known[name]
            inputs = [torch.randn(shape, device=device) for shape in fact["input_shape"]]
            row = measured(case.build(), inputs, case.call, device=device, seconds=seconds)
            assert reference is not None
            yield {
                "published": name,
                "component": case.component,
                "paper": fact["paper"],
                **row,
                "params": row["params"] + case.params_elsewhere - case.params_added,
                "their_params": fact["params_trainable"],
                "their_macs_conv": fact.get("macs_conv_linear"),
                "their_macs_attention": fact.get("macs_attention"),
                "their_forward": fact["speed"].get("forward_vs_conv"),
                "their_train": fact["speed"].get("train_vs_conv"),
                "error": recorded_error(name, case, reference),
                "note": case.note,
            }
    for slot in SLOTS:
        for name in catalogue(slot):
            if name != "none" and (not names or name in names):
                module, inputs = at_defaults(slot, name, device)
                row = measured(module, inputs, None, device=device, seconds=seconds)
                yield {"slot": slot, "component": name, **row}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=5.0, help="spent at most on each of the two timings of a row")
    given = parser.parse_args()
    names = set(given.names)
    known = {*PUBLISHED, *(name for slot in SLOTS for name in catalogue(slot))}
    if unknown := names - known:
        parser.error(f"no such component or published module: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    for row in rows(names, given.reference, device=torch.device(given.device), seconds=given.seconds):
        label = row.get("published") or f"{row['slot']} {row['component']}"
        theirs = f" (theirs {row['their_forward']}, {row['their_train']})" if row.get("their_forward") else ""
        sizes = f"{row['params']} parameters, {(row['macs_conv'] + row['macs_attention']) / 1e9:.2f} GMACs"
        peaks = f"peak {row['peak_forward_bytes'] / 1e6:.0f} and {row['peak_train_bytes'] / 1e6:.0f} MB"
        print(f"{label}: forward {row['forward']}, train {row['train']}{theirs}; {sizes}; {peaks}", flush=True)
        if given.docs:
            write([row], given.docs)


if __name__ == "__main__":
    main()
