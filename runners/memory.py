"""What a training step holds at its peak: foretold without a network's weights, and measured with them.

Both run the very step that trains: `runners.optimise.Fit`. To foretell, its tensors are torch's fake ones, which have a
shape, a type and a layout but no values; nothing is computed and no memory taken, whatever the network's size.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedFakeTensorException,
)
from torch.utils._pytree import tree_leaves

from blocks.architecture import Architecture, Component
from blocks.measure import peak_bytes, total_bytes
from blocks.meta import Shortcuts
from blocks.network import CROSS_ENTROPY, Network, Supervised, untrained
from runners.optimise import Fit
from runners.protocol import Protocol
from runners.training import Training

_CPU = torch.device("cpu")
_UNFORESEEN = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedFakeTensorException)


@dataclass(frozen=True, slots=True)
class StepMemory:
    """What a training step holds when it holds most.

    Args:
        state: what stays from step to step: weights and buffers, the optimiser's moments, the averaged network. [bytes]
        step: the most that lives beside it at once: images and labels, activations that the backward pass needs,
            gradients, and what operators hand to each other. [bytes]
    """

    state: int
    step: int

    @property
    def peak(self) -> int:
        """All of it. [bytes]"""
        return self.state + self.step


@lru_cache(maxsize=256)
def foretold(architecture: Architecture, protocol: Protocol) -> StepMemory:
    """Foretell what a training step of a whole batch holds, in train mode, losses and autocast included.

    Within 1 % of what `measured` finds on the CPU (`python -m benchmarks.memory`). Not counted: what kernels take for
    themselves (cuDNN's workspaces; on the CPU those of oneDNN, which can be much for networks of many small
    convolutions), what the allocator loses to fragments and rounding, the CUDA context, and what `torch.compile` saves.

    Where a loss chooses its pixels by their values, its memory cannot be known from shapes: cross-entropy then stands
    in for the criteria, and of auxiliary losses only their weights count. This takes some tenths of a second to a few
    seconds, once per network and protocol.

    Raises:
        BlockError: the network or a loss cannot be built.
    """
    training, mode = protocol.recipe(), FakeTensorMode(allow_non_fake_inputs=True)
    # Fake tensors are copied with a warning; what the averaged network holds is known without.
    alone = dataclasses.replace(training, ema=0.0)
    fit = _fake(architecture, protocol, alone, mode)
    network = fit.supervised.network
    average = total_bytes([*network.parameters(), *network.buffers()]) if training.ema else 0
    state = total_bytes(_lasting(fit)) + average
    try:
        with mode:
            return StepMemory(state, _step_bytes(fit, protocol, _CPU))
    except _UNFORESEEN:
        plain = (CROSS_ENTROPY,)
        bare = dataclasses.replace(protocol, main=plain, coarse=plain if protocol.coarse else (), auxiliary=())
        fit = _fake(architecture, bare, alone, mode)
        with mode:
            return StepMemory(state, _step_bytes(fit, bare, _CPU))


def measured(architecture: Architecture, protocol: Protocol, device: torch.device) -> StepMemory:
    """Take a training step on random images and measure it.

    On CUDA the allocator counts; elsewhere the bytes of all live tensors are counted, without what kernels take for
    themselves.

    Raises:
        BlockError: the network or a loss cannot be built.
        RunError: the device cannot do what the protocol asks.
    """
    supervised = _supervised(architecture, protocol).to(device).to(memory_format=torch.channels_last)
    fit = _ready(supervised, protocol.recipe(), device)
    return StepMemory(total_bytes(_lasting(fit)), _step_bytes(fit, protocol, device))


def _fake(architecture: Architecture, protocol: Protocol, training: Training, mode: FakeTensorMode) -> Fit:
    # Built on the meta device, not in the mode: some constructors work out a few real numbers.
    with torch.device("meta"), Shortcuts():
        supervised = _supervised(architecture, protocol)
    with mode:
        _materialise(supervised)
        return _ready(supervised, training, _CPU)


def _supervised(architecture: Architecture, protocol: Protocol) -> Supervised:
    network = Network(
        untrained(architecture),
        size=protocol.size,
        classes=protocol.classes,
        image_channels=protocol.image_channels,
    )
    weights = torch.ones(protocol.classes) if protocol.recipe().class_weights != "none" else None
    losses: dict[str, tuple[Component, ...]] = {"main": protocol.main or (CROSS_ENTROPY,), "coarse": protocol.coarse}
    return Supervised(network, **losses, auxiliary=protocol.auxiliary, class_weights=weights)


def _materialise(module: nn.Module) -> None:
    """Move a module from the meta device to the CPU; `Module.to` refuses to swap fake tensors in."""
    moved: dict[int, Tensor] = {}
    alive = [t for part in module.modules() for t in (*part._parameters.values(), *part._buffers.values())]
    for tensor in alive:
        if tensor is not None and id(tensor) not in moved:
            layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
            there = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", memory_format=layout)
            is_weight = isinstance(tensor, nn.Parameter)
            moved[id(tensor)] = nn.Parameter(there, tensor.requires_grad) if is_weight else there
    for part in module.modules():
        for owned in (part._parameters, part._buffers):
            for name, tensor in owned.items():
                if tensor is not None:
                    owned[name] = moved[id(tensor)]  # type: ignore[assignment]


def _ready(supervised: Supervised, training: Training, device: torch.device) -> Fit:
    """A fit as it is between two steps."""
    if training.precision == "float16" and device.type != "cuda":
        training = dataclasses.replace(training, precision="bfloat16")  # holds as much, and runs anywhere
    fit = Fit(supervised, training, device)
    fit.train()
    weights = [p for p in supervised.parameters() if p.requires_grad]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    fit.optimizer.step()  # makes the moments
    for weight in weights:
        weight.grad = None
    return fit


def _lasting(fit: Fit) -> list[Tensor]:
    """What stays from step to step."""
    state = [leaf for leaf in tree_leaves(fit.state()) if isinstance(leaf, Tensor)]
    return [*fit.supervised.parameters(), *fit.supervised.buffers(), *state]


def _step_bytes(fit: Fit, protocol: Protocol, device: torch.device) -> int:
    training = protocol.recipe()
    count = training.batch * training.accumulate
    images = torch.rand(count, protocol.image_channels, *protocol.size, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(protocol.classes, (count, *protocol.size), device=device)
    given = [images, labels]
    peak = peak_bytes(lambda: fit.step(images, labels, step=1, steps=10), [*_lasting(fit), *given], device)
    return total_bytes(given) + peak
