"""Samples in batches: the same ones in the same order, however many processes load them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset

from blocks.errors import RunError, law
from runners.data.augment import coloured, generator, moved
from runners.data.contract import FromFiles, Split
from runners.data.loading import Batch, Batched, Batches
from runners.data.subset import chosen
from runners.data.unreadable import Replaced, Unreadable
from runners.distributed import ALONE, World
from runners.training import Training


class Augmented(Dataset[Batch]):
    """Training samples, asked for by (pass, index): processes that load outlive a pass, so it travels along.

    Args:
        split: the samples.
        training: the recipe.
        seed: of augmentation.
        size: height and width of a crop; None is that of the samples. [px]
        colours: change them here; else how they are to change is a third part of each sample.
    """

    def __init__(
        self, split: Split, training: Training, seed: int, size: tuple[int, int] | None = None, *, colours: bool = True
    ) -> None:
        self._split, self._training, self._seed, self._size, self._colours = split, training, seed, size, colours

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        number, index = key
        image, label = self._split[index]
        rng = generator(self._seed, number, index)
        image, label, changes = moved(image, label, self._training, rng, size=self._size)
        return (coloured(image, changes), label) if self._colours else (image, label, changes)


class Shuffled:
    """Batches of (pass, index), in an order that (seed, pass) decides; set `epoch` before each round of them.

    A round begins with batch number `first`, counted from 0: those before it are left out. Without `iterations`, each
    round is a pass, whose last incomplete batch is dropped unless it is the only one. With them, passes follow each
    other without a gap, batches may lie across two of them, and rounds differ by one step at most. Each process of
    `world` takes its share of each batch.

    Args:
        samples: training images that there are. [count]
        batch: images per step. [count]
        seed: of the order.
        epochs: rounds. [count]
        iterations: steps in all; 0 makes each round a pass. [count]
        share: of the images that is used, the same whatever the seed.
        world: the processes that train together.

    Raises:
        RunError: there are fewer steps than rounds.
    """

    def __init__(
        self,
        samples: int,
        batch: int,
        seed: int,
        *,
        epochs: int,
        iterations: int = 0,
        share: float = 1.0,
        world: World = ALONE,
    ) -> None:
        if 0 < iterations < epochs:
            got = {"iterations": iterations, "epochs": epochs}
            raise RunError(law("training.iterations", "a step for every epoch", got, "Lower epochs"))
        self._samples, self._seed, self._endless = samples, seed, iterations > 0
        self._chosen = chosen(samples, share)
        self.batch = batch if self._endless else min(batch, len(self._chosen))
        self.steps = iterations or epochs * (len(self._chosen) // self.batch)
        self._epochs, self._world = epochs, world
        self.epoch, self.first = 1, 0

    def before(self, epoch: int) -> int:
        """Steps before a round, the first of which is number 1. [count]"""
        return self.steps * (epoch - 1) // self._epochs

    def __len__(self) -> int:
        return self.before(self.epoch + 1) - self.before(self.epoch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        images = len(self._chosen)
        number, place = (self.before(self.epoch) if self._endless else 0) + self.first, self.epoch
        start = number * self.batch
        if self._endless:
            place, start = 1 + start // images, start % images
        order = self._order(place)
        for _ in range(len(self) - self.first):
            batch: list[tuple[int, int]] = []
            while len(batch) < self.batch:
                if start == images:
                    place, start, order = place + 1, 0, self._order(place + 1)
                piece = order[start : start + self.batch - len(batch)]
                batch += [(place, index) for index in piece]
                start += len(piece)
            yield self._world.share(batch)

    def _order(self, number: int) -> list[int]:
        """The images of a pass."""
        # The count of all is no image's number: no image is augmented by the numbers that the pass is shuffled with.
        order = generator(self._seed, number, self._samples).permutation(len(self._chosen))
        return [self._chosen[place] for place in order.tolist()]


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
    subject: str = "Training:",
    world: World = ALONE,
    colours: bool = True,
) -> tuple[Shuffled, Batches]:
    """Return the augmented batches, cropped to `size` where that is given, and the order that they follow.

    Args:
        split: the samples.
        training: the recipe.
        seed: of order and augmentation.
        loaders: processes that make batches; with 0, threads of this one do. [count]
        pin: into memory that a GPU copies from by itself.
        size: height and width of a crop; None is that of the samples. [px]
        subject: who tells of images that cannot be read.
        world: the processes that share each batch.
        colours: change them before the batch is moved; else `to_device` does, with the same numbers.
    """
    order = Shuffled(
        len(split),
        training.batch * training.accumulate,
        seed,
        epochs=training.epochs,
        iterations=training.iterations,
        share=training.subset,
        world=world,
    )
    replaced = Replaced(split)
    batched = Batched(Augmented(replaced, training, seed, size, colours=colours), replaced)
    return order, Batches(batched, order, Unreadable(subject, len(split), "replaced"), loaders=loaders, pin=pin)


def plain_batches(
    split: Split, batch: int, *, loaders: int, pin: bool, subject: str = "Evaluation:", world: World = ALONE
) -> Batches:
    """Return a split, or a process's share of it, for evaluation; `subject` tells of images that cannot be read."""
    order = BatchSampler(world.share(list(range(len(split)))), batch, drop_last=False)
    return Batches(Batched(Plain(split)), order, Unreadable(subject, len(split), "left out"), loaders=loaders, pin=pin)


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


def single_samples(
    samples: Truths, *, loaders: int, pin: bool, subject: str = "Evaluation:", world: World = ALONE
) -> Batches:
    """Return samples in batches of one, as they may differ in size: (1, C, H, W) and a label of any size."""
    order = BatchSampler(world.share(list(range(len(samples)))), 1, drop_last=False)
    return Batches(Batched(samples), order, Unreadable(subject, len(samples), "left out"), loaders=loaders, pin=pin)


def to_device(batch: Batch, device: torch.device, memory_format: torch.memory_format) -> tuple[Tensor, Tensor]:
    """Move a batch and give it the types of the network: floats in [0, 1], int64 labels. Bytes travel, not floats.

    Where the batch says how colours are to change, that is done there.
    """
    images, labels = (part.to(device, non_blocking=True) for part in batch[:2])
    for changes in batch[2:]:
        images = torch.stack([coloured(image, row) for image, row in zip(images, changes, strict=True)])
    return images.to(torch.float32, memory_format=memory_format).div_(255), labels.long()
