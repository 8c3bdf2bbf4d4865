"""Judge a network by one confusion matrix over a data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from runners.data.batches import Batch, to_device
from runners.data.contract import IGNORE


@dataclass(frozen=True, slots=True)
class Scores:
    """What a confusion matrix says; the fields mean what they mean in `runners.protocol.Epoch`."""

    miou: float
    pixel_accuracy: float
    class_iou: tuple[float | None, ...]


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    batches: Iterable[Batch],
    *,
    classes: int,
    device: torch.device,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Scores:
    """Run the network over all batches, in float32 and in eval mode, where it stays.

    Labels must be classes or 255: torchmetrics has but a bare RuntimeError for others, and is told not to look.
    """
    network.eval()
    confusion = MulticlassConfusionMatrix(classes, ignore_index=IGNORE, validate_args=False).to(device)
    for batch in batches:
        images, labels = to_device(batch, device, memory_format)
        confusion.update(network(images).argmax(dim=1), labels)
    return scores(confusion.compute())


def scores(confusion: Tensor) -> Scores:
    """Read IoU and accuracy off a confusion matrix (labels in rows, predictions in columns).

    A class that occurs in neither has no IoU and is left out of the mean; one that is only predicted counts as 0.
    """
    counts = confusion.cpu().double()
    hits = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - hits
    class_iou = tuple(float(h / u) if u > 0 else None for h, u in zip(hits, union, strict=True))
    occurring = [iou for iou in class_iou if iou is not None]
    labelled = float(counts.sum())
    return Scores(
        miou=sum(occurring) / len(occurring) if occurring else 0.0,
        pixel_accuracy=float(hits.sum()) / labelled if labelled else 0.0,
        class_iou=class_iou,
    )
