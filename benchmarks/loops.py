"""Hand-written training and evaluation loops, to hold the recipe to."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runners.data.batches import Batch, to_device
from runners.data.contract import IGNORE
from runners.optimise import learning_rate
from runners.training import Training

_LAST = torch.channels_last


class Loop:
    """What the hand-written loops share: a network, its optimiser, and the forward pass under autocast."""

    def __init__(
        self, network: nn.Module, training: Training, device: torch.device, layout: torch.memory_format = _LAST
    ) -> None:
        self.network, self.layout = network.to(device).to(memory_format=layout), layout
        self.training, self.device, self.steps_done = training, device, 0
        weights = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": weights, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=training.learning_rate, fused=True)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.training.precision)
        with torch.autocast(self.device.type, dtype=half, enabled=half is not None):
            logits = self.network(images)
        return F.cross_entropy(logits.float(), labels, ignore_index=IGNORE)

    def bare(self, batches: Iterable[Batch], steps: int) -> None:
        """As small as a loop with a schedule can be."""
        self.network.train()
        total = torch.zeros((), device=self.device)
        for batch in batches:
            images, labels = to_device(batch, self.device, _LAST)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.steps_done, steps, self.training)
            self.optimizer.zero_grad()
            loss = self.forward(images, labels)
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
            self.steps_done += 1
        assert total.isfinite()

    def documented(self, batches: Iterable[Batch], prepare: Callable[[Tensor], Tensor]) -> None:
        """The loop of smp's quick start."""
        self.network.train()
        for batch in batches:
            images, labels = to_device(batch, self.device, self.layout)
            self.optimizer.zero_grad()
            loss = self.forward(prepare(images), labels)
            loss.backward()
            self.optimizer.step()

    def passes(self, batch: Batch, steps: int) -> None:
        """Forward and backward alone."""
        self.network.train()
        for _ in range(steps):
            self.network.zero_grad()
            self.forward(*batch).backward()

    @torch.inference_mode()
    def evaluate(self, batches: Iterable[Batch], classes: int) -> float:
        """The mean IoU from one bincount a batch."""
        self.network.eval()
        confusion = torch.zeros(classes**2, dtype=torch.int64, device=self.device)
        for batch in batches:
            images, labels = to_device(batch, self.device, _LAST)
            found, known = self.network(images).argmax(dim=1), labels != IGNORE
            confusion += torch.bincount(labels[known] * classes + found[known], minlength=classes**2)
        square = confusion.reshape(classes, classes)
        union = square.sum(0) + square.sum(1) - square.diagonal()
        return float((square.diagonal() / union.clamp(min=1)).mean())


def normalised(images: Tensor) -> Tensor:
    mean, std = (images.new_tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (images - mean) / std


@torch.inference_mode()
def by_smp(loop: Loop, batches: Iterable[Batch], classes: int) -> float:
    """The metrics loop of smp's examples."""
    from segmentation_models_pytorch import metrics

    loop.network.eval()
    stats = []
    for batch in batches:
        images, labels = to_device(batch, loop.device, loop.layout)
        found = loop.network(normalised(images)).argmax(dim=1)
        stats.append(metrics.get_stats(found, labels, mode="multiclass", num_classes=classes, ignore_index=IGNORE))
    return float(metrics.iou_score(*(torch.cat(part) for part in zip(*stats, strict=True)), reduction="micro"))
