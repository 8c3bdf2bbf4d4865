"""Samples in batches: the same ones in the same order, however many processes load them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import BatchSampler, Dataset, SequentialSampler

from runners.data.augment import augment, generator
from runners.data.contract import Split
from runners.data.loading import Batch, Batched, Batches
from runners.data.unreadable import Replaced, Unreadable
from runners.training import Training


class Augmented(Dataset[Batch]):
    """Training samples, asked for by (epoch, index): processes that load outlive an epoch, so it travels along."""

    def __init__(self, split: Split, training: Training, seed: int) -> None:
        self._split, self._training, self._seed = split, training, seed

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, index = key
        image, label = self._split[index]
        return augment(image, label, self._training, generator(self._seed, epoch, index))


class Shuffled:
    """Batches of (epoch, index), in an order that (seed, epoch) decides; set `epoch` before each pass.

    A pass begins with batch number `first`, counted from 0: those before it are left out.
    The last incomplete batch is dropped, unless it is the only one.
    """

    def __init__(self, samples: int, batch: int, seed: int) -> None:
        self._samples, self._batch, self._seed = samples, min(batch, samples), seed
        self.epoch, self.first = 1, 0

    def __len__(self) -> int:
        return self._samples // self._batch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = generator(self._seed, self.epoch, self._samples).permutation(self._samples).tolist()
        for start in range(self.first * self._batch, len(self) * self._batch, self._batch):
            yield [(self.epoch, index) for index in order[start : start + self._batch]]


class Plain(Dataset[Batch]):
    """Samples as they are."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> Batch:
        return self._split[index]


def training_batches(
    split: Split, training: Training, seed: int, *, loaders: int, pin: bool, subject: str = "Training:"
) -> tuple[Shuffled, Batches]:
    """Return the augmented batches and the order that they follow; `subject` tells of images that cannot be read."""
    order, replaced = Shuffled(len(split), training.batch, seed), Replaced(split)
    batched = Batched(Augmented(replaced, training, seed), replaced)
    return order, Batches(batched, order, Unreadable(subject, len(split), "replaced"), loaders=loaders, pin=pin)


def plain_batches(split: Split, batch: int, *, loaders: int, pin: bool, subject: str = "Evaluation:") -> Batches:
    """Return the batches of a split for evaluation; `subject` tells of images that cannot be read."""
    order = BatchSampler(SequentialSampler(range(len(split))), batch, drop_last=False)
    return Batches(Batched(Plain(split)), order, Unreadable(subject, len(split), "left out"), loaders=loaders, pin=pin)


def to_device(batch: Batch, device: torch.device, memory_format: torch.memory_format) -> Batch:
    """Move a batch and give it the types of the network: floats in [0, 1], int64 labels. Bytes travel, not floats."""
    images, labels = (part.to(device, non_blocking=True) for part in batch)
    return images.to(torch.float32, memory_format=memory_format).div_(255), labels.long()
