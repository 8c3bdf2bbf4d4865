"""What a network takes on a real device: latency and peak memory of a forward pass."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from blocks.cost import evaluating, storage_of


@dataclass(frozen=True, slots=True)
class Measured:
    """What a forward pass took on a device.

    Args:
        latency_ms: median of the repeats, for the whole batch. [ms]
        peak_memory_bytes: weights, images and the most that lived beside them at once. On CUDA the allocator's own
            count; elsewhere the bytes of all live tensors, without what kernels take for themselves. [bytes]
    """

    latency_ms: float
    peak_memory_bytes: int


def measure(
    network: nn.Module,
    *,
    size: tuple[int, int],
    image_channels: int,
    device: torch.device | str,
    batch: int = 1,
    repeats: int = 20,
    seconds: float = 5.0,
) -> Measured:
    """Time forward passes in eval mode and find their peak memory, on a real device.

    Args:
        network: moved to the device, and left there.
        size: height and width of the images. [px]
        image_channels: 1, 3 or 4. [count]
        device: `cpu`, `cuda`, `cuda:1` or `mps`.
        batch: images per pass. [count]
        repeats: timed passes at most; at least three. [count]
        seconds: after which no further pass is begun. [s]
    """
    device = torch.device(device)
    network.to(device)
    image = torch.rand(batch, image_channels, *size, device=device)
    own = [*network.parameters(), *network.buffers(), image]
    with evaluating(network), torch.no_grad():
        peak = peak_bytes(lambda: network(image), own, device)
        for _ in range(2):  # caches, autotuning and clocks settle; finding the peak was a first warm-up
            network(image)
        stopwatch = _time_cuda if device.type == "cuda" else _time_host
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < 3 or (len(times) < repeats and time.perf_counter() < end):
            times.append(stopwatch(network, image))
    return Measured(statistics.median(times), total_bytes(own) + peak)


def peak_bytes(call: Callable[[], object], own: Iterable[Tensor], device: torch.device) -> int:
    """Find the most memory that lived at once, during a call, beside what was there before. [bytes]

    Args:
        call: what is run, once.
        own: tensors that were there before: weights and inputs.
        device: where they are. On CUDA the allocator counts; elsewhere the bytes of all live tensors are counted,
            without what kernels take for themselves.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device)) - before
    with _Live({storage_of(t) for t in own}) as live:
        call()
    return int(live.peak)


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follow the bytes of all tensors that are born in it, and the most that lived at once."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = known
        self._now = 0
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and (key := storage_of(leaf)) not in self._known:
                storage = leaf.untyped_storage()
                self._known.add(key)
                self._now += storage.nbytes()
                weakref.finalize(storage, self._forget, key, storage.nbytes())
        self.peak = max(self.peak, self._now)
        return out

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size


def total_bytes(tensors: Iterable[Tensor]) -> int:
    """The memory behind tensors, what several of them share counted once. [bytes]"""
    return sum({storage_of(t): t.untyped_storage().nbytes() for t in tensors}.values())


def _time_cuda(network: Callable[[Tensor], Tensor], image: Tensor) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    with torch.cuda.device(image.device):
        start.record()
        network(image)
        end.record()
        end.synchronize()
    return float(start.elapsed_time(end))


def _time_host(network: Callable[[Tensor], Tensor], image: Tensor) -> float:
    wait = torch.mps.synchronize if image.device.type == "mps" else _nothing
    wait()
    start = time.perf_counter()
    network(image)
    wait()
    return (time.perf_counter() - start) * 1e3


def _nothing() -> None:
    """The CPU has nothing to wait for."""
