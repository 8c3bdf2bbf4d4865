"""What a network costs: counted on the meta device, where no weights are allocated, or measured on a real one."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from blocks.architecture import Architecture
from blocks.network import Network

_aten = torch.ops.aten
_CONVOLUTIONS = frozenset({_aten.convolution, _aten._convolution, _aten.cudnn_convolution, _aten._slow_conv2d_forward})
_PRODUCTS = frozenset({_aten.mm, _aten.addmm})


@dataclass(frozen=True, slots=True)
class Cost:
    """What one image costs at a stated input size and class count; all counted, nothing measured.

    Args:
        params: parameters, each counted once; buffers are not. [count]
        macs: multiply-accumulates of all convolutions and matrix products, attention included; padding, pooling,
            resizing, normalisation and elementwise work are not counted. [count]
        macs_conv: those of convolutions and linear layers alone, which many papers print as "GFLOPs". A product of
            two-dimensional matrices of which one is a parameter is a linear layer, however it is written. [count]
        activation_bytes: what the backward pass needs kept of one float32 image, besides parameters and buffers;
            without dropout masks and losses, attention counted as if its matrix were stored. [bytes]
    """

    params: int
    macs: int
    macs_conv: int
    activation_bytes: int


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


def cost_of(architecture: Architecture, *, size: tuple[int, int], classes: int, image_channels: int = 3) -> Cost:
    """Count what a network would cost, without allocating its weights.

    Args:
        architecture: the network as a value.
        size: height and width of the image. [px]
        classes: how many classes the logits have. [count]
        image_channels: 1, 3 or 4. [count]

    Raises:
        BlockError: the network cannot be built.
    """
    with torch.device("meta"):
        network = Network(architecture, size=size, classes=classes, image_channels=image_channels)
        image = torch.empty(1, image_channels, *size)
    return cost_of_module(network, image)


def cost_of_module(module: nn.Module, *inputs: Any) -> Cost:
    """Count what one call of any module costs, in eval mode; on the meta device nothing is computed.

    Args:
        module: left in the mode in which it came.
        inputs: what it is called with.
    """
    parameters = {_storage(t) for t in module.parameters()}
    products, kept = _Products(parameters), _Kept(parameters | {_storage(t) for t in module.buffers()})
    with _evaluating(module), torch.enable_grad(), saved_tensors_hooks(kept.keep, lambda saved: saved), products:
        # Held until the count is done: a storage that is freed may lend its address to the next.
        output = module(*inputs)
    params = sum(p.numel() for p in module.parameters())
    del output
    return Cost(params, products.macs, products.macs_conv, kept.bytes)


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
    own = _bytes(itertools.chain(network.parameters(), network.buffers(), [image]))
    with _evaluating(network), torch.no_grad():
        peak = _peak_cuda(network, image) if device.type == "cuda" else _peak_tensors(network, image)
        for _ in range(2):  # caches, autotuning and clocks settle; finding the peak was a first warm-up
            network(image)
        stopwatch = _time_cuda if device.type == "cuda" else _time_host
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < 3 or (len(times) < repeats and time.perf_counter() < end):
            times.append(stopwatch(network, image))
    return Measured(statistics.median(times), own + peak)


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Add up the multiply-accumulates of all convolutions and matrix products, by torch's own formulas."""

    def __init__(self, parameters: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._parameters = parameters
        self.macs = 0
        self.macs_conv = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in flop_registry:
            macs = flop_registry[packet](*args, **(kwargs or {}), out_val=out) // 2
            self.macs += macs
            if packet in _CONVOLUTIONS or (packet in _PRODUCTS and self._is_linear(args)):
                self.macs_conv += macs
        return out

    def _is_linear(self, operands: Iterable[Any]) -> bool:
        return any(isinstance(t, Tensor) and _storage(t) in self._parameters for t in list(operands)[-2:])


class _Kept:
    """Add up what autograd keeps for the backward pass, each storage once."""

    def __init__(self, owned: set[int]) -> None:
        self._seen = set(owned)
        self._alive: list[Any] = []
        self.bytes = 0

    def keep(self, saved: Tensor) -> Tensor:
        if (key := _storage(saved)) not in self._seen:
            self._seen.add(key)
            self._alive.append(saved.untyped_storage())
            self.bytes += saved.untyped_storage().nbytes()
        return saved


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
            if isinstance(leaf, Tensor) and (key := _storage(leaf)) not in self._known:
                storage = leaf.untyped_storage()
                self._known.add(key)
                self._now += storage.nbytes()
                weakref.finalize(storage, self._forget, key, storage.nbytes())
        self.peak = max(self.peak, self._now)
        return out

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size


def _storage(tensor: Tensor) -> int:
    """Identify the memory behind a tensor; on the meta device all data pointers are 0."""
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum({_storage(t): t.untyped_storage().nbytes() for t in tensors}.values())


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _peak_cuda(network: Callable[[Tensor], Tensor], image: Tensor) -> int:
    before = torch.cuda.memory_allocated(image.device)
    torch.cuda.reset_peak_memory_stats(image.device)
    network(image)
    torch.cuda.synchronize(image.device)
    return int(torch.cuda.max_memory_allocated(image.device)) - before


def _peak_tensors(network: nn.Module, image: Tensor) -> int:
    known = {_storage(t) for t in itertools.chain(network.parameters(), network.buffers(), [image])}
    with _Live(known) as live:
        network(image)
    return int(live.peak)


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
