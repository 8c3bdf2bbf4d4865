"""Judge a network by one confusion matrix over a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from blocks.errors import DataError, law
from runners.data.batches import to_device
from runners.data.contract import IGNORE, DataInfo, FromFiles, Split, UnreadableError
from runners.data.loading import Batch
from runners.data.unreadable import Unreadable
from runners.distributed import ALONE, World
from runners.inference import Inference, classified


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
    world: World = ALONE,
) -> Scores:
    """Run the network over all batches, in float32 and in eval mode, where it stays.

    Each process of `world` has batches of its own; their confusion matrices are added up.

    Labels must be classes or 255: torchmetrics has but a bare RuntimeError for others, and is told not to look.
    """
    network.eval()
    confusion = MulticlassConfusionMatrix(classes, ignore_index=IGNORE, validate_args=False, sync_on_compute=False).to(
        device
    )
    for batch in batches:
        images, labels = to_device(batch, device, memory_format)
        confusion.update(network(images).argmax(dim=1), labels)
    return scores(world.total(confusion.compute()))


def evaluate_split(
    network: nn.Module,
    split: Split,
    info: DataInfo,
    how: Inference,
    *,
    device: torch.device,
    shown: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Scores:
    """Judge a network on every sample of a split, at the label's own size where the data set gives it.

    A single scale of samples that keep their proportions is what `training.evaluation` judges after each epoch.

    Args:
        network: on the device, in eval mode.
        split: the samples.
        info: of the data set.
        how: whole or by windows, flips, scales.
        device: where the network is.
        shown: draws the progress over the samples' numbers, for whoever watches.

    Raises:
        DataError: a sample is wrong, more than 1 % cannot be read, or no pixel of the split is labelled.
    """
    unreadable = Unreadable("An evaluation", len(split), "left out")
    confusion = torch.zeros(info.classes, info.classes, dtype=torch.int64, device=device)
    for index in shown(range(len(split))):
        try:
            image, label = own_size(split, index)
        except UnreadableError as error:
            unreadable.add((index, str(error)))
            continue
        _check_label(label, info, index)
        shape = None
        if info.varies:
            sample = split[index][0]
            shape = (sample.shape[-2], sample.shape[-1])
            # Several scales are taken from all pixels that there are, one scale from those that training has.
            image = sample if how.scales == (1.0,) else image
        confusion += _confusion(network, image.to(device), label.to(device).long(), info, how=how, shape=shape)
    if not confusion.any():
        remedy = "Choose a split whose labels are published"
        raise DataError(law("An evaluation", "labelled pixels", {"samples": len(split), "labelled": 0}, remedy))
    return scores(confusion)


@torch.inference_mode()
def evaluate_samples(
    network: nn.Module,
    samples: Iterable[Batch],
    info: DataInfo,
    how: Inference,
    *,
    device: torch.device,
    world: World = ALONE,
) -> Scores:
    """Judge a network, in float32 and in eval mode, where it stays, on samples one by one.

    Args:
        network: on the device.
        samples: each image, (1, C, H, W), uint8, and its label, (1, H, W), of any size.
        info: of the data set; where samples vary, an image is predicted at the size that it comes with.
        how: whole or by windows, flips, scales.
        device: where the network is.
        world: the processes that judge it together, each on samples of its own.
    """
    network.eval()
    confusion = torch.zeros(info.classes, info.classes, dtype=torch.int64, device=device)
    for number, (images, labels) in enumerate(samples):
        image, label = images[0], labels[0]
        _check_label(label, info, number)
        pixels, truth = image.to(device, non_blocking=True), label.to(device, non_blocking=True).long()
        shape = (image.shape[-2], image.shape[-1]) if info.varies else None
        confusion += _confusion(network, pixels, truth, info, how=how, shape=shape)
    return scores(world.total(confusion))


def _confusion(
    network: nn.Module,
    image: Tensor,
    truth: Tensor,
    info: DataInfo,
    *,
    how: Inference,
    shape: tuple[int, int] | None,
) -> Tensor:
    """The confusion matrix of one sample: (C, H, W), uint8, and a label of any size, int64."""
    to = (truth.shape[0], truth.shape[1])
    found = classified(network, image.float().div_(255), size=info.size, to=to, how=how, shape=shape)
    return _pairs(found, truth, info.classes)


def scores_of(found: Tensor, truth: Tensor, classes: int) -> Scores:
    """Judge one prediction, (H, W), against its label, (H, W), int64."""
    return scores(_pairs(found, truth, classes))


def _pairs(found: Tensor, truth: Tensor, classes: int) -> Tensor:
    """The confusion matrix of one prediction: labels in rows; what is ignored does not count."""
    counts = truth != IGNORE
    pairs = truth[counts] * classes + found[counts]
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def own_size(split: Split, index: int) -> tuple[Tensor, Tensor]:
    """Image and label at the size that they have on disk, or as they are where there are no files."""
    return split.original(index) if isinstance(split, FromFiles) else split[index]


def _check_label(label: Tensor, info: DataInfo, index: int) -> None:
    wrong = label[(label >= info.classes) & (label != IGNORE)]
    if wrong.numel():
        got = {"sample": index, "found": sorted(set(wrong.tolist()))[:5]}
        needs = f"labels from 0 to {info.classes - 1}, or {IGNORE}"
        raise DataError(law("An evaluation", needs, got, "Correct its classes"))


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
