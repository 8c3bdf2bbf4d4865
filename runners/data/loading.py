"""Whole batches, made ahead of their use: by threads of this process, or by processes of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from blocks.errors import DataError
from runners.data.contract import UnreadableError
from runners.data.unreadable import Problem, Replaced, Unreadable

Batch = tuple[Tensor, ...]
"""Images, labels, and in training, where the device does it, how the colours of each image are to change."""

Key = TypeVar("Key")
Made = TypeVar("Made")

_MOST_THREADS = 4


class Loaded(NamedTuple):
    """One batch, empty where none of its samples can be read, and what went wrong."""

    parts: Batch
    unreadable: tuple[Problem, ...] = ()
    error: DataError | None = None


class Samples(Protocol):
    """What batches are made of, one at a time."""

    def __getitem__(self, key: Any, /) -> Batch: ...


class Batched(Dataset[Loaded]):
    """Makes a batch of the samples with these keys; those that cannot be read are left out and named.

    Args:
        samples: where they come from.
        replaced: the split below, where it finds stand-ins instead.
    """

    def __init__(self, samples: Samples, replaced: Replaced | None = None) -> None:
        self._samples, self._replaced = samples, replaced

    def __getitems__(self, keys: list[Any]) -> Loaded:
        try:
            return self._loaded(keys)
        except DataError as error:
            # As a value: from another process, an exception would arrive with a traceback in its message.
            return Loaded((), error=error)

    def _loaded(self, keys: list[Any]) -> Loaded:
        found: list[Batch] = []
        problems: list[Problem] = []
        for key in keys:
            try:
                found.append(self._samples[key])
            except UnreadableError as error:
                if self._replaced:
                    raise
                problems.append((key, str(error)))
        problems += self._replaced.take() if self._replaced else []
        if not found:
            return Loaded((), tuple(problems))
        return Loaded(tuple(torch.stack(parts) for parts in zip(*found, strict=True)), tuple(problems))


class Batches:
    """The batches of a split, pass after pass, in the order of `order`, whatever makes them.

    Args:
        batched: makes one.
        order: the keys of each batch; gone through anew in each pass.
        unreadable: counts the samples that cannot be read.
        loaders: processes that make batches; with 0, threads of this one do. [count]
        pin: whether batches are to lie in memory that a GPU copies from by itself.

    Raises:
        DataError: a sample is wrong, or too many cannot be read.
    """

    def __init__(
        self, batched: Batched, order: Iterable[list[Any]], unreadable: Unreadable, *, loaders: int, pin: bool
    ) -> None:
        self.unreadable = unreadable
        self._batched, self._order, self._pin = batched, order, pin
        self._loader = _loader(batched, order, loaders, pin=pin) if loaders else None

    def __iter__(self) -> Generator[Batch, None, None]:
        """Close it to stop early: nothing is left running then."""
        if self._loader is not None:
            yield from self._counted(self._loader)
            return
        threads = max(1, min(_MOST_THREADS, torch.get_num_threads()))
        with closing(ahead(self._make, self._order, threads=threads)) as made:
            yield from self._counted(made)

    def _counted(self, made: Iterable[Loaded]) -> Generator[Batch, None, None]:
        for parts, unreadable, error in made:
            if error is not None:
                raise error
            for problem in unreadable:
                self.unreadable.add(problem)
            if parts:
                yield parts

    def _make(self, keys: list[Any]) -> Loaded:
        made = self._batched.__getitems__(keys)
        if not self._pin:
            return made
        return made._replace(parts=tuple(part.pin_memory() for part in made.parts))


def ahead(make: Callable[[Key], Made], keys: Iterable[Key], *, threads: int) -> Generator[Made, None, None]:
    """Yield what `make` makes of each key, in their order, while threads make the next ones.

    torch, Pillow and numpy let go of the interpreter lock in their loops, so that this goes on beside the training.
    An error comes out where its result would have.

    Args:
        make: called in threads, each of which gives torch one thread.
        keys: of what is made; taken in the caller's thread.
        threads: how many; each is one result ahead, and one more waits. [count]
    """
    with ThreadPoolExecutor(threads, "nas-data", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for key in keys:
                waiting.append(pool.submit(make, key))
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _loader(batched: Batched, order: Iterable[list[Any]], loaders: int, *, pin: bool) -> DataLoader[Loaded]:
    return DataLoader(
        batched,
        batch_sampler=order,
        num_workers=loaders,
        persistent_workers=True,
        pin_memory=pin,
        collate_fn=_as_it_is,
        # A loader draws a seed now and then; from the global generator, it would change the network's dropout.
        generator=torch.Generator(),
    )


def _as_it_is(loaded: Any) -> Any:
    """A batch is one already when it leaves `Batched`."""
    return loaded
