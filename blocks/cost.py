"""What a network costs, counted on the meta device, where no weights are allocated."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from blocks.architecture import Architecture, Component
from blocks.catalogue import completed
from blocks.features import Features, Shapes, Stage
from blocks.meta import Shortcuts, shortcut
from blocks.network import build_stage, image_shapes

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
    return _sum(costs_by_part(architecture, size=size, classes=classes, image_channels=image_channels).values())


def costs_by_part(
    architecture: Architecture, *, size: tuple[int, int], classes: int, image_channels: int = 3
) -> dict[str, Cost]:
    """Count what each slot of a network would cost; together they cost what the network does.

    Args:
        architecture: the network as a value.
        size: height and width of the image. [px]
        classes: how many classes the logits have. [count]
        image_channels: 1, 3 or 4. [count]

    Raises:
        BlockError: the network cannot be built.
    """
    choice = completed(architecture)
    part = _image(size, classes, image_channels, choice.align_corners)
    found = {}
    for slot, component in choice.slots():
        part = _grown(part, slot, component)
        found[slot] = part.cost
    return found


def _sum(costs: Iterable[Cost]) -> Cost:
    every = list(costs)
    return Cost(*(sum(getattr(cost, f.name) for cost in every) for f in fields(Cost)))


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The first stages of a network, counted: a search proposes many networks that begin alike.

    Args:
        cost: of the last of them.
        features: what the last one hands on: tensors on the meta device, without a graph.
        out: the same, declared.
        kept: those of its storages that autograd keeps, and that are counted.
    """

    cost: Cost
    features: Features
    out: Shapes
    kept: frozenset[int]


@functools.lru_cache(maxsize=64)
def _image(size: tuple[int, int], classes: int, image_channels: int, align_corners: bool) -> _Part:
    shapes = image_shapes(size, classes, image_channels, align_corners)
    pixels = torch.empty(1, image_channels, *size, device="meta")
    return _Part(Cost(0, 0, 0, 0), Features(pixels), shapes, frozenset())


@functools.lru_cache(maxsize=512)
def _grown(before: _Part, slot: str, component: Component) -> _Part:
    with torch.device("meta"), Shortcuts():
        stage = build_stage(slot, component, before.out)
    cost, features, kept = _counted(stage, before.features, seen=before.kept)
    # Over the same storages: what two stages keep is told by them.
    handed: Features = tree_map(_leaf, features)
    shared = kept & {storage_of(t) for t in tree_leaves(handed) if isinstance(t, Tensor)}
    return _Part(cost, handed, cast(Stage, stage).out, frozenset(shared))


def _leaf(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    # An image needs no gradient, and what it passes through is then not kept.
    return value.detach().requires_grad_(value.requires_grad)


def cost_of_module(module: nn.Module, *inputs: Any) -> Cost:
    """Count what one call of any module costs, in eval mode; on the meta device nothing is computed.

    Args:
        module: left in the mode in which it came.
        inputs: what it is called with.
    """
    return _counted(module, *inputs)[0]


def _counted(module: nn.Module, *inputs: Any, seen: Iterable[int] = ()) -> tuple[Cost, Any, set[int]]:
    """Count one call; return what it gave and which storages autograd keeps, those seen before left out."""
    parameters = {storage_of(t) for t in module.parameters()}
    owned = parameters | {storage_of(t) for t in module.buffers()}
    products, kept = _Products(parameters), _Kept(owned | set(seen))
    with evaluating(module), torch.enable_grad(), saved_tensors_hooks(kept.keep, lambda saved: saved), products:
        # Held until the count is done: a storage that is freed may lend its address to the next.
        output = module(*inputs)
    params = sum(p.numel() for p in module.parameters())
    return Cost(params, products.macs, products.macs_conv, kept.bytes), output, kept.seen - owned


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Add up the multiply-accumulates of all convolutions and matrix products, by torch's own formulas."""

    def __init__(self, parameters: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._parameters = parameters
        self.macs = 0
        self.macs_conv = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = shortcut(func, args, kwargs or {})
        packet = func._overloadpacket
        if packet in flop_registry:
            macs = flop_registry[packet](*args, **(kwargs or {}), out_val=out) // 2
            self.macs += macs
            if packet in _CONVOLUTIONS or (packet in _PRODUCTS and self._is_linear(args)):
                self.macs_conv += macs
        return out

    def _is_linear(self, operands: Iterable[Any]) -> bool:
        return any(isinstance(t, Tensor) and storage_of(t) in self._parameters for t in list(operands)[-2:])


class _Kept:
    """Add up what autograd keeps for the backward pass, each storage once."""

    def __init__(self, owned: set[int]) -> None:
        self.seen = set(owned)
        self._alive: list[Any] = []
        self.bytes = 0

    def keep(self, saved: Tensor) -> Tensor:
        if (key := storage_of(saved)) not in self.seen:
            self.seen.add(key)
            self._alive.append(saved.untyped_storage())
            self.bytes += saved.untyped_storage().nbytes()
        return saved


def storage_of(tensor: Tensor) -> int:
    """Identify the memory behind a tensor; on the meta device all data pointers are 0."""
    return int(tensor.untyped_storage()._cdata)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
