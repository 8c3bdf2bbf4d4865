"""One network in training: the network, its optimiser, its batches, its checkpoint."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from blocks import catalogue
from blocks.errors import DataError, RunError, law
from blocks.measure import measure
from blocks.network import Network, Supervised
from runners import checkpoint, norms, randomness
from runners.data import DataSet, dataset
from runners.data.batches import Shuffled, to_device, training_batches
from runners.data.loading import Batches
from runners.data.memory import InMemory, in_memory
from runners.device import peak_bytes
from runners.distributed import ALONE, World, announce, same_everywhere
from runners.failure import Diverged
from runners.identity import identity
from runners.inheritance import inherit
from runners.judging import Judging, need_evaluation
from runners.optimise import Fit, learning_rate
from runners.protocol import Epoch, Proposal, Rejected, Work
from runners.weights import start

_log = logging.getLogger("nas.recipe")

_MEASURED = ("latency_ms", "peak_memory_bytes")
_LOOK_EVERY = 32  # steps between two looks at the loss on a GPU: each look waits for it


class Trial:
    """One network in training, with all that an epoch needs.

    Args:
        proposal: what is trained.
        work: how it is carried out here.
        data: the samples.
        device: where.
        parts: how many parts a batch is taken in, where the whole of it was too much for the memory. [count]
        world: the processes that train it together; all of them call the same methods.
    """

    def __init__(
        self,
        proposal: Proposal,
        work: Work,
        data: DataSet,
        device: torch.device,
        *,
        parts: int = 1,
        world: World = ALONE,
    ) -> None:
        protocol = proposal.protocol
        self._parts, self._world = parts, world
        self._within: dict[str, Any] | None = None  # the middle of an epoch that a checkpoint has caught
        self._saved = time.monotonic()
        self._proposal, self._work, self._device = proposal, work, device
        self._training = protocol.recipe()
        need_evaluation(data.info, self._training)
        limit, share = work.cache_bytes, self._training.subset
        self._samples = in_memory(data, protocol.data, work.place, limit, work.cache, share=share)
        _agree(self._samples, proposal)
        # Faster on a GPU, and by 8 to 22 % on one CPU thread too (ResNet-18, MobileNetV4).
        self._format = torch.contiguous_format if device.type == "mps" else torch.channels_last
        randomness.seed(proposal.seed, 0)
        self._fit = Fit(self._build(), self._training, device, world)
        self._order, self._train = self._batches()
        announce(world, self._order.batch, device)
        self._judging = self._judged(data)
        self._judging.rehearse(self._fit.judged, device=device)
        self._steps = self._order.steps

    def _build(self) -> Supervised:
        protocol = self._proposal.protocol
        network = Network(
            self._proposal.architecture,
            size=protocol.size,
            classes=protocol.classes,
            image_channels=protocol.image_channels,
        )
        start(network, protocol, self._work)
        weights = None
        if self._training.class_weights == "inverse_log":
            weights = (1.0 / torch.log(1.02 + self._samples.shares)).float()
        supervised = Supervised(
            network,
            main=protocol.main,
            coarse=protocol.coarse,
            auxiliary=protocol.auxiliary,
            class_weights=weights,
        )
        if self._training.norms == "synced":
            norms.synchronise(supervised, self._device)
        return supervised.to(self._device).to(memory_format=self._format)

    def _batches(self) -> tuple[Shuffled, Batches]:
        loaders, pin = self._work.loaders, self._device.type == "cuda"
        train, protocol = self._samples.split("train"), self._proposal.protocol
        return training_batches(
            train,
            self._training,
            self._proposal.seed,
            loaders=loaders,
            pin=pin,
            size=protocol.size,
            subject=train.subject,
            world=self._world,
            # Bytes and strengths travel to a GPU; what a loader would compute for each image are some kernels there.
            colours=self._device.type != "cuda",
        )

    def _judged(self, data: DataSet) -> Judging:
        if isinstance(data, InMemory):  # it may have forgotten how large labels were
            data = dataset(self._proposal.protocol.data, self._work.place)
        held, world = self._samples.split("val"), self._world
        return Judging(
            data,
            held,
            self._training,
            # Evaluation sees each image alone: smaller batches change no number.
            batch=-(-self._training.batch // (self._parts * world.size)),
            loaders=self._work.loaders,
            pin=self._device.type == "cuda",
            subject=held.subject,
            world=world,
        )

    def measure(self) -> tuple[Rejected | None, dict[str, Any]]:
        """Measure latency and memory of a forward pass where a limit or an objective asks for one of them.

        Returns:
            Which limit is exceeded, or None; and what was measured, by the names of `Epoch`'s fields.
        """
        return self._world.agreed(self._measure() if self._world.leads else (None, {}))

    def _measure(self) -> tuple[Rejected | None, dict[str, Any]]:
        limits = self._proposal.limits
        if unknown := sorted(set(limits) - set(_MEASURED)):
            needs = f"names among {', '.join(_MEASURED)}"
            raise RunError(law("A limit that the worker measures", needs, {"limits": unknown}, "Drop it"))
        if not limits and not set(_MEASURED) & set(self._work.objectives):
            return None, {}
        protocol = self._proposal.protocol
        network = self._fit.supervised.network
        found = measure(network, size=protocol.size, image_channels=protocol.image_channels, device=self._device)
        # A trial that is continued was within its limits when it began; noise shall not end it now.
        for name, allowed in () if self._proposal.done else limits.items():
            if (value := getattr(found, name)) > allowed:
                return Rejected(name, value, allowed), {}
        return None, dataclasses.asdict(found)

    def resume(self) -> list[Epoch]:
        """Take over the checkpoint where there is one; return the epochs that it has behind it.

        Without one, the weights of the parent are taken over, where there is a parent.

        Raises:
            Orphaned: its checkpoint is not there.
        """
        proposal = self._proposal
        path = self._work.checkpoint(proposal.trial)
        state = checkpoint.load(path, identity=_identity(proposal), device=self._device)
        same_everywhere(path, None if state is None else len(state["epochs"]), self._world)
        if state is None:
            if proposal.done:
                _log.warning("no checkpoint after epoch %d in %s: training starts again", proposal.done, path)
            if proposal.parent:
                network = self._fit.supervised.network
                self._fit.begin(inherit(network, proposal.architecture, proposal.parent, self._work))
            return []
        self._fit.restore(state["fit"])
        self._parts = max(self._parts, state.get("parts", 1))
        self._within = state.get("within")
        return [Epoch(**known) for known in state["epochs"]]

    def save(self, epochs: list[Epoch], within: dict[str, Any] | None = None) -> None:
        """Keep a checkpoint after the last of `epochs`, or `within` the one that follows, as `work.keep` says."""
        if not self._work.saves or not self._world.leads:
            return
        state = {
            "fit": self._fit.state(),
            "epochs": [dataclasses.asdict(epoch) for epoch in epochs],
            "parts": self._parts,
            "within": within,
        }
        # What the front keeps is known only when the front is: whoever knows it prunes afterwards.
        checkpoint.save(
            self._work.checkpoint(self._proposal.trial),
            state,
            identity=_identity(self._proposal),
            epoch_copy=f"epoch-{len(epochs):04d}.pt" if self._work.keep == "all" and not within else None,
            last=len(epochs) == self._proposal.epochs,
        )
        self._saved = time.monotonic()

    def epoch(self, known: list[Epoch]) -> Epoch:
        """Train and evaluate the epoch that follows those known."""
        number = len(known) + 1
        began = time.perf_counter()
        randomness.seed(self._proposal.seed, number, self._world.rank)
        loss, before = self._train_epoch(known)
        self._world.align(self._fit.judged)
        scores = self._judging(self._fit.judged, device=self._device, memory_format=self._format)
        for unreadable in (self._train.unreadable, self._judging.unreadable):
            if len(unreadable):
                _log.warning("epoch %d: %s", number, unreadable)
        return Epoch(
            epoch=number,
            loss=loss,
            miou=scores.miou,
            pixel_accuracy=scores.pixel_accuracy,
            class_iou=scores.class_iou,
            learning_rate=learning_rate(self._order.before(number + 1) - 1, self._steps, self._training),
            seconds=before + time.perf_counter() - began,
            train_memory_bytes=max(self._world.gathered(peak_bytes(self._device))),
            accumulation=self._parts,
        )

    def _train_epoch(self, known: list[Epoch]) -> tuple[float, float]:
        """Pass over what is left of the training images; return the mean loss, and the seconds spent on it before."""
        number, began = len(known) + 1, time.perf_counter()
        within, self._within = self._within or {"losses": [], "seconds": 0.0}, None
        world, every = self._world, 1 if self._device.type == "cpu" else _LOOK_EVERY
        # An interrupted epoch may be continued by more processes than began it.
        if world.rank < len(random := within.get("random", ())):
            randomness.restore(random[world.rank], self._device)
        self._fit.train()
        before, whole = self._order.before(number), self._order.batch
        losses = _Losses(number, before, within["losses"], every=every, world=world)
        self._order.epoch, self._order.first = number, len(within["losses"])
        with closing(iter(self._train)) as batches:
            for step, batch in enumerate(batches, start=before + self._order.first):
                images, labels = to_device(batch, self._device, self._format)
                loss = self._fit.step(images, labels, step=step, steps=self._steps, parts=self._parts, batch=whole)
                losses.add(loss)
                if self._due(step, every) and step + 1 < before + len(self._order):
                    seconds = within["seconds"] + time.perf_counter() - began
                    random = world.gathered(randomness.state(self._device))
                    self.save(known, {"losses": losses.all(), "seconds": seconds, "random": random})
        return losses.mean(), within["seconds"]

    def _due(self, step: int, every: int) -> bool:
        minutes = self._work.checkpoint_minutes
        # Clocks differ, and to ask the others takes time: not at every step.
        if minutes == 0 or (self._world.size > 1 and step % every):
            return False
        return self._world.agreed(time.monotonic() - self._saved >= 60 * minutes)


class _Losses:
    """The losses of an epoch, looked at in bulk where each look waits for the device, by all processes at once."""

    def __init__(self, epoch: int, before: int, seen: list[float], *, every: int, world: World) -> None:
        self._epoch, self._before, self._every, self._world = epoch, before, every, world
        self._waiting: list[Tensor] = []
        self._seen = list(seen)

    def add(self, loss: Tensor) -> None:
        self._waiting.append(loss)
        if len(self._waiting) >= self._every:
            self._look()

    def _look(self) -> None:
        values: list[float] = self._world.mean(torch.stack(self._waiting)).tolist() if self._waiting else []
        self._waiting.clear()
        for value in values:
            self._seen.append(value)
            if not math.isfinite(value):
                raise Diverged(self._epoch, self._before + len(self._seen), value)

    def all(self) -> list[float]:
        self._look()
        return list(self._seen)

    def mean(self) -> float:
        seen = self.all()
        return sum(seen) / len(seen)


def _agree(samples: InMemory, proposal: Proposal) -> None:
    """Raise DataError unless the data here are those that the protocol speaks of."""
    protocol, info = proposal.protocol, samples.info
    asked = (protocol.data_fingerprint, protocol.size, protocol.classes, protocol.image_channels)
    found = (samples.fingerprint(), info.size, info.classes, info.image_channels)
    if asked != found:
        remedy = "Give every worker the same files, or start a new study"
        got = {"found": found, "protocol": asked}
        raise DataError(law(f"Data set {protocol.data.name}", "to be what the study began with", got, remedy))


def _identity(proposal: Proposal) -> str:
    versions = catalogue.versions(proposal.architecture, proposal.protocol.losses())
    return identity(proposal.architecture, proposal.protocol, proposal.seed, versions, proposal.parent)
