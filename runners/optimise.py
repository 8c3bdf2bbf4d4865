"""One optimisation step: learning rate, mixed precision, clipping, update, averaging."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from blocks.errors import RunError, law
from blocks.network import Network, Supervised
from runners import norms
from runners.distributed import ALONE, Replica, World
from runners.groups import parameter_groups
from runners.training import Training

_START = 1 / 25  # where the one-cycle rise begins, as a share of the peak
_END = 1e-4  # where its descent ends, at the lowest
_FUSED = frozenset({"cpu", "cuda", "mps", "xpu"})  # devices on which torch updates all weights in one kernel


class Fit:
    """What training changes: weights, optimiser, loss scale and averaged weights.

    Args:
        supervised: the network and its losses, on their device already.
        training: the recipe's options.
        device: where the network lies.
        world: the processes that share each batch; weights and their average stay the same in all of them.

    Raises:
        RunError: float16 away from CUDA, where no loss scaling is to be had.
    """

    def __init__(self, supervised: Supervised, training: Training, device: torch.device, world: World = ALONE) -> None:
        half = training.precision == "float16"
        if half and device.type != "cuda":
            got = {"precision": training.precision, "device": device.type}
            raise RunError(law("training.precision", "a CUDA device for float16", got, "Use bfloat16 or float32"))
        self.supervised, self._training, self._device = supervised, training, device
        if training.norms == "frozen":
            norms.freeze(self._backbone)
        # Wrappers share the weights; everything that is saved, averaged or measured is the module itself.
        run = cast(nn.Module, torch.compile(supervised)) if training.compile else supervised
        self._world, self._replica = world, Replica(supervised, world, device, run=run)
        self._optimizer = optimizer(supervised, training)
        self._scaler = torch.amp.GradScaler(device.type, enabled=half)
        self._average = Average(supervised.network, training.ema) if training.ema else None
        network = self._average.network if self._average else supervised.network
        self._judged = cast(nn.Module, torch.compile(network)) if training.compile else network

    @property
    def judged(self) -> nn.Module:
        """The network to evaluate: the averaged one where there is one; compiled where training is."""
        return self._judged

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What updates the weights."""
        return self._optimizer

    def step(
        self, images: Tensor, labels: Tensor, *, step: int, steps: int, parts: int = 1, batch: int | None = None
    ) -> Tensor:
        """Take step number `step`, counted from 0, of `steps` in the full schedule; return the loss, detached.

        Where gradients are accumulated, `images` are all the batches of a step. With several `parts`, each batch goes
        through the network in as many pieces. Gradients are added up so that every image weighs the same. Where these
        images are a process's share of a step's `batch`, gradients and losses are weighted by the images in each share:
        the mean over the processes is that of the batch.
        """
        rate = learning_rate(step, steps, self._training)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["rate"]
        self._optimizer.zero_grad(set_to_none=True)
        losses = []
        each = batch / self._world.size if batch and self._world.size > 1 else len(images)  # a share, on average
        # Processes whose shares differ by one still take as many pieces.
        parts = self._pieces(int(each), parts)
        for number, (piece, truth) in enumerate(
            zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True), start=1
        ):
            with self._replica.averaging(now=number == parts):
                with self._autocast():
                    loss = torch.stack(list(self._replica(piece, truth).values())).sum()
                if len(piece) != each:
                    loss = loss * (len(piece) / each)
                self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        self._replica.settle()
        if self._training.clip:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self.supervised.parameters(), self._training.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._average:
            self._average.update(step)
        return torch.stack(losses).sum()

    def train(self) -> None:
        """Put everything into training mode but what is frozen."""
        self.supervised.train()
        if self._training.norms == "frozen":
            norms.hold(self._backbone)

    @property
    def _backbone(self) -> nn.Module:
        return self.supervised.network.stages["backbone"]

    def _pieces(self, images: int, parts: int) -> int:
        """In how many pieces a step's images are taken; batch norms fail on a single one, unless that is the batch."""
        fewest = min(2, self._training.batch)
        batches = max(1, min(self._training.accumulate, images // fewest))
        return batches * max(1, min(parts, images // batches // 2))

    def _autocast(self) -> torch.autocast:
        kind = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self._training.precision)
        return torch.autocast(self._device.type, dtype=kind, enabled=kind is not None)

    def state(self) -> dict[str, Any]:
        """All that a continued training needs."""
        return {
            "supervised": self.supervised.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": self._average.network.state_dict() if self._average else None,
        }

    @torch.no_grad()
    def begin(self, weights: Mapping[str, Tensor]) -> None:
        """Take over tensors of the network, by name, before the first step; the average begins with them, too."""
        for network in (self.supervised.network, *([self._average.network] if self._average else [])):
            own = network.state_dict()
            for name, tensor in weights.items():
                own[name].copy_(tensor)

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.supervised.load_state_dict(state["supervised"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average:
            self._average.network.load_state_dict(state["average"])


class Average:
    """An exponential moving average of weights and buffers.

    The decay starts low and rises to its value, or short trainings would be judged by their initial weights.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self._decay = decay
        self._pairs = list(zip(_tensors(self.network), _tensors(network), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the network as it is after step number `step`, counted from 0."""
        weight = 1.0 - min(self._decay, (1 + step) / (10 + step))
        for average, value in self._pairs:
            if average.is_floating_point():
                average.lerp_(value, weight)
            else:
                average.copy_(value)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())


def optimizer(supervised: Supervised, training: Training) -> torch.optim.Optimizer:
    """Make the optimiser, fused where the device has it; each group knows its `rate`, a factor of the schedule's."""
    groups = parameter_groups(supervised, training)
    fused = True if all(p.device.type in _FUSED for p in supervised.parameters()) else None
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.momentum, fused=fused)
    return torch.optim.AdamW(groups, lr=training.learning_rate, fused=fused)


def learning_rate(step: int, steps: int, training: Training) -> float:
    """The rate of step number `step`, counted from 0: a linear rise over `warmup`, then the schedule's descent.

    `one_cycle` rises from 1/25 of the peak and ends at 1/10000 of it; the others rise from 0 and end there. All end at
    `floor` where that is higher. Momentum stays as it is.
    """
    rise = training.warmup * steps
    low = _START if training.schedule == "one_cycle" else 0.0
    if step < rise:
        return training.learning_rate * (low + (1.0 - low) * (step + 1) / (rise + 1))
    done = (step - rise) / max(1.0, steps - rise)
    end = max(_END, training.floor) if training.schedule == "one_cycle" else training.floor
    wave = end + (1.0 - end) * (1.0 + math.cos(math.pi * done)) / 2
    descent: dict[str, float] = {
        "one_cycle": wave,
        "cosine": wave,
        "poly": end + (1.0 - end) * max(0.0, 1.0 - done) ** training.power,
        "constant": 1.0,
    }
    return training.learning_rate * descent[training.schedule]
