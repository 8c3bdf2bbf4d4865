"""Samples in batches: the same ones in the same order, however many processes load them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset

from runners.data.augment import augment, generator
from runners.data.contract import Split
from runners.distributed import ALONE, World
from runners.training import Training

Batch = tuple[Tensor, Tensor]


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
    The last incomplete batch is dropped, unless it is the only one. Each process of `world` takes its share of each.
    """

    def __init__(self, samples: int, batch: int, seed: int, world: World = ALONE) -> None:
        self._samples, self.batch, self._seed, self._world = samples, min(batch, samples), seed, world
        self.epoch, self.first = 1, 0

    def __len__(self) -> int:
        return self._samples // self.batch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = generator(self._seed, self.epoch, self._samples).permutation(self._samples).tolist()
        for start in range(self.first * self.batch, len(self) * self.batch, self.batch):
            yield [(self.epoch, index) for index in self._world.share(order[start : start + self.batch])]


class Plain(Dataset[Batch]):
    """Samples as they are."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> Batch:
        return self._split[index]


def training_batches(
    split: Split, training: Training, seed: int, *, loaders: int, pin: bool, world: World = ALONE
) -> tuple[Shuffled, DataLoader[Batch]]:
    """Return the loader of augmented batches and the order that it follows."""
    order = Shuffled(len(split), training.batch, seed, world)
    return order, _loader(Augmented(split, training, seed), order, loaders=loaders, pin=pin)


def plain_batches(split: Split, batch: int, *, loaders: int, pin: bool, world: World = ALONE) -> DataLoader[Batch]:
    """Return the loader of a split, or of a process's share of it, for evaluation."""
    order = BatchSampler(world.share(list(range(len(split)))), batch, drop_last=False)
    return _loader(Plain(split), order, loaders=loaders, pin=pin)


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
