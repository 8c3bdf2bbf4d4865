"""Samples in batches: the same ones in the same order, however many processes load them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from runners.data.augment import augment, generator
from runners.data.contract import FromFiles, Split
from runners.training import Training

Batch = tuple[Tensor, Tensor]


class Augmented(Dataset[Batch]):
    """Training samples, asked for by (epoch, index): processes that load outlive an epoch, so it travels along."""

    def __init__(self, split: Split, training: Training, seed: int, size: tuple[int, int] | None = None) -> None:
        self._split, self._training, self._seed, self._size = split, training, seed, size

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, index = key
        image, label = self._split[index]
        return augment(image, label, self._training, generator(self._seed, epoch, index), size=self._size)


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
    split: Split,
    training: Training,
    seed: int,
    *,
    loaders: int,
    pin: bool,
    size: tuple[int, int] | None = None,
) -> tuple[Shuffled, DataLoader[Batch]]:
    """Return the loader of augmented batches, cropped to `size` where that is given, and the order that it follows."""
    order = Shuffled(len(split), training.batch, seed)
    return order, _loader(Augmented(split, training, seed, size), order, loaders=loaders, pin=pin)


def plain_batches(split: Split, batch: int, *, loaders: int, pin: bool) -> DataLoader[Batch]:
    """Return the loader of a split for evaluation."""
    order = BatchSampler(SequentialSampler(range(len(split))), batch, drop_last=False)
    return _loader(Plain(split), order, loaders=loaders, pin=pin)


class Truths(Dataset[Batch]):
    """Samples to judge by: each image as it is predicted, each label at its original size where there are files.

    Args:
        held: the samples as training has them, in memory perhaps.
        source: the same from their files.
        original: take images, too, at their original size.
    """

    def __init__(self, held: Split, source: Split, *, original: bool) -> None:
        self._held, self._source, self._original = held, source, original

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, index: int) -> Batch:
        if not isinstance(self._source, FromFiles):
            return self._held[index]
        if self._original:
            return self._source.original(index)
        return self._held[index][0], self._source.label(index)


def single_samples(samples: Truths, *, loaders: int, pin: bool) -> DataLoader[Batch]:
    """Return the loader of samples one by one, as they may differ in size: (C, H, W) and a label of any size."""
    return DataLoader(
        samples,
        batch_size=None,
        num_workers=loaders,
        persistent_workers=loaders > 0,
        pin_memory=pin,
        generator=torch.Generator(),
    )


def _loader(samples: Dataset[Batch], order: Iterable[list[Any]], *, loaders: int, pin: bool) -> DataLoader[Batch]:
    return DataLoader(
        samples,
        batch_sampler=order,
        num_workers=loaders,
        persistent_workers=loaders > 0,
        pin_memory=pin,
        # A loader draws a seed now and then; from the global generator, it would change the network's dropout.
        generator=torch.Generator(),
    )


def to_device(batch: Batch, device: torch.device, memory_format: torch.memory_format) -> Batch:
    """Move a batch and give it the types of the network: floats in [0, 1], int64 labels. Bytes travel, not floats."""
    images, labels = (part.to(device, non_blocking=True) for part in batch)
    return images.to(torch.float32, memory_format=memory_format).div_(255), labels.long()
