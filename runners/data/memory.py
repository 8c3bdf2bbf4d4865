"""Samples decoded once per process: a warm worker keeps them from trial to trial."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import torch
from torch import Tensor

from blocks.architecture import Component
from blocks.errors import DataError, law
from runners.data.contract import IGNORE, SPLITS, DataInfo, DataSet, Split, SplitName, report

_log = logging.getLogger("nas.data")

_Key = tuple[Component, tuple[tuple[str, str], ...], str, int]
_held: dict[_Key, InMemory] = {}


def in_memory(data: DataSet, component: Component, place: Mapping[str, str], limit: int) -> InMemory:
    """Decode a data set into memory, or return it as it was decoded for an earlier trial.

    One data set is held at a time: a sweep has one, and the next sweep's should not pile up on it.

    Args:
        data: what to read from.
        component: its name and options.
        place: where it lies.
        limit: memory for samples; those beyond it are decoded each time. [bytes]

    Raises:
        DataError: files are missing or wrong; several are reported together.
    """
    if isinstance(data, InMemory):
        return data
    key = (component, tuple(sorted(place.items())), data.fingerprint(), limit)
    if key not in _held:
        _held.clear()
        _held[key] = InMemory(data, component.name, key[2], limit)
    return _held[key]


class InMemory:
    """A data set whose samples are decoded already, as far as memory was granted."""

    def __init__(self, data: DataSet, name: str, fingerprint: str, limit: int) -> None:
        began = time.perf_counter()
        self.info: DataInfo = data.info
        self._fingerprint = fingerprint
        self._splits: dict[SplitName, Decoded] = {}
        for split in SPLITS:
            decoded = Decoded(data.split(split), data.info, f"Data set {name}, split {split},", limit)
            limit -= decoded.bytes
            self._splits[split] = decoded
        samples = sum(s.kept for s in self._splits.values())
        _log.info("decoded %d samples of %s in %.1f s", samples, name, time.perf_counter() - began)

    def fingerprint(self) -> str:
        return self._fingerprint

    def split(self, name: SplitName) -> Decoded:
        return self._splits[name]

    @cached_property
    def shares(self) -> Tensor:
        """The share of each class among the labelled training pixels, float64 (classes,)."""
        split, counts = self._splits["train"], torch.zeros(IGNORE + 1, dtype=torch.int64)
        for index in range(len(split)):
            counts += torch.bincount(split[index][1].flatten().int(), minlength=IGNORE + 1)
        known = counts[: self.info.classes].double()
        return known / known.sum().clamp(min=1)


class Decoded:
    """A split with its first samples in memory; the others are decoded when they are asked for."""

    def __init__(self, source: Split, info: DataInfo, subject: str, limit: int) -> None:
        self._source, self._info, self._subject = source, info, subject
        height, width = info.size
        each = height * width * (info.image_channels + 1)
        self.kept = min(len(source), max(0, limit) // each)
        self.bytes = self.kept * each
        self._images: Tensor | list[Tensor]
        self._labels: Tensor | list[Tensor]
        if info.varies:
            self._images, self._labels = ([torch.empty(0)] * self.kept for _ in range(2))
        else:
            self._images = torch.empty(self.kept, info.image_channels, height, width, dtype=torch.uint8)
            self._labels = torch.empty(self.kept, height, width, dtype=torch.uint8)
        # Pillow and torch let go of the interpreter lock, so threads decode side by side.
        with ThreadPoolExecutor(max(1, torch.get_num_threads())) as threads:
            report([problem for problem in threads.map(self._fill, range(self.kept)) if problem])

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index < self.kept:
            return self._images[index], self._labels[index]
        return self._read(index)

    def _fill(self, index: int) -> str | None:
        try:
            self._images[index], self._labels[index] = self._read(index)
        except DataError as error:
            return str(error)
        return None

    def _read(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode a sample and hold it to the promise: torchmetrics has but a bare RuntimeError for a wrong label."""
        image, label = self._source[index]
        height, width = label.shape if self._info.varies else self._info.size
        found, needed = (
            (tuple(image.shape), tuple(label.shape)),
            ((self._info.image_channels, height, width), (height, width)),
        )
        if found != needed:
            raise DataError(
                law(self._subject, f"samples of shape {needed}", {"sample": index, "shapes": found}, "Mend its split")
            )
        wrong = label[(label >= self._info.classes) & (label != IGNORE)]
        if wrong.numel():
            needs = f"labels from 0 to {self._info.classes - 1}, or {IGNORE}"
            got = {"sample": index, "found": sorted(set(wrong.tolist()))[:5]}
            raise DataError(law(self._subject, needs, got, "Correct its classes"))
        return image, label
