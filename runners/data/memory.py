"""Samples decoded once per machine, or once per process where they come from no files."""

from __future__ import annotations

import logging
import os
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import PIL
import torch
import torchvision
from torch import Tensor

from blocks.architecture import Component, canonical_json
from blocks.errors import DataError, law
from runners.data import cache as files
from runners.data.cache import MEMORY, Sample
from runners.data.contract import (
    IGNORE,
    SPLITS,
    DataInfo,
    DataSet,
    Split,
    SplitName,
    Stamped,
    UnreadableError,
    report,
)
from runners.data.subset import chosen
from runners.data.unreadable import Unreadable

_log = logging.getLogger("nas.data")

_AT_ONCE = 64  # samples that are decoded before the first of them is put away
_FOLDER = 8 << 30  # bytes that the folder of decoded samples may grow to; for large limits, four times as much as they

_Key = tuple[Component, tuple[tuple[str, str], ...], str, int, str | None]
_held: dict[_Key, InMemory] = {}


def in_memory(
    data: DataSet,
    component: Component,
    place: Mapping[str, str],
    limit: int,
    cache: str | None = MEMORY,
    *,
    share: float = 1.0,
) -> InMemory:
    """Decode a data set, or return it as it was decoded for an earlier trial, by this or another process.

    What comes from files is kept in a file that every process of this machine maps; what is drawn, in memory. One data
    set is held at a time: a sweep has one, and the next sweep's should not pile up on it.

    Args:
        data: what to read from.
        component: its name and options.
        place: where it lies.
        limit: memory for samples; those beyond it are decoded each time. [bytes]
        cache: the folder of such files; None for one in the system's temporary folder, `memory` for no files.
        share: of the training images that will be asked for: no others are decoded ahead. What holds more will do.

    Raises:
        DataError: files are missing or wrong, or more than 1 % cannot be read; several are reported together.
    """
    if isinstance(data, InMemory):
        return data
    key = (component, tuple(sorted(place.items())), data.fingerprint(), limit, cache)
    if key not in _held or not _held[key].serves(share):
        _held.clear()
        _held[key] = InMemory(data, key, share)
    return _held[key]


class InMemory:
    """A data set whose samples are decoded already, as far as memory was granted."""

    def __init__(self, data: DataSet, key: _Key, share: float = 1.0) -> None:
        began = time.perf_counter()
        component, place, self._fingerprint, limit, cache = key
        self._share = share
        self.info: DataInfo = data.info
        self._splits: dict[SplitName, Decoded] = {}
        folder, most = _folder(cache), max(_FOLDER, 4 * limit)
        for name in SPLITS:
            about: list[object] = [component.plain(), place, self._fingerprint, name, limit]
            subject, split = f"Data set {component.name}, split {name},", data.split(name)
            wanted = chosen(len(split), share if name == "train" else 1.0)
            if len(wanted) < len(split):
                about.append(share)
            decoded = Decoded(split, data.info, subject, limit, wanted)
            decoded.fill(folder, f"{component.name}-{name}", canonical_json(about))
            if folder is not None:
                files.prune(folder, most)
            limit -= decoded.bytes
            self._splits[name] = decoded
        found = sum(s.kept for s in self._splits.values() if s.found)
        fresh = sum(s.kept for s in self._splits.values()) - found
        text = f" and found {found} in {folder}" if found else ""
        _log.info("decoded %d samples of %s in %.1f s%s", fresh, component.name, time.perf_counter() - began, text)

    def fingerprint(self) -> str:
        return self._fingerprint

    def serves(self, share: float) -> bool:
        """Tell whether a trial with this share of the training images finds as many decoded as memory allows."""
        return share == self._share or (share < self._share and self._splits["train"].whole)

    def split(self, name: SplitName) -> Decoded:
        return self._splits[name]

    @cached_property
    def shares(self) -> Tensor:
        """The share of each class among the labelled training pixels, float64 (classes,)."""
        split, counts = self._splits["train"], torch.zeros(IGNORE + 1, dtype=torch.int64)
        for index in range(len(split)):
            with suppress(UnreadableError):  # named and counted where it is trained on
                counts += torch.bincount(split[index][1].flatten().int(), minlength=IGNORE + 1)
        known = counts[: self.info.classes].double()
        return known / known.sum().clamp(min=1)


class Decoded:
    """A split whose first wanted samples are decoded; others are when they are asked for, as are those that failed.

    Args:
        source: what to read from.
        info: what it promises.
        subject: who is speaking in an error.
        limit: of the bytes that are kept. [bytes]
        wanted: the samples that will be asked for, in their order.
    """

    def __init__(self, source: Split, info: DataInfo, subject: str, limit: int, wanted: Sequence[int]) -> None:
        self._source, self._info, self._limit = source, info, max(0, limit)
        self._wanted = wanted
        self.subject = subject
        self._samples: Sequence[Sample | None] = []
        self.bytes = 0
        self.found = False  # whether they were decoded already

    @property
    def kept(self) -> int:
        """How many samples are decoded. [count]"""
        return len(self._samples)

    @property
    def whole(self) -> bool:
        """Whether all that is wanted is decoded."""
        return self.kept == len(self._wanted)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        place = bisect_left(self._wanted, index)
        here = place < self.kept and self._wanted[place] == index
        sample = self._samples[place] if here else None
        return self._read(index) if sample is None else sample

    def fill(self, folder: Path | None, name: str, about: str) -> None:
        """Decode as many samples as the limit allows, or find them in a file.

        Args:
            folder: of such files; None keeps samples in this process.
            name: what the file is to be called.
            about: says what the samples depend on, besides their files and the libraries that decode them.
        """
        if folder is not None and self._most() and isinstance(self._source, Stamped):
            try:
                self._map(folder, name, about)
                return
            except OSError as error:
                _log.warning("decoded samples stay in this process's memory: %s", error)
        self._samples = list(self._decoded())
        self.bytes = sum(_bytes(sample) for sample in self._samples if sample)

    def _map(self, folder: Path, name: str, about: str) -> None:
        assert isinstance(self._source, Stamped)
        decoders = [torch.__version__, torchvision.__version__, PIL.__version__]
        key, channels = canonical_json([about, self._source.stamp(), decoders]), self._info.image_channels
        path = files.path_of(folder, name, key)
        found = files.mapped(path, key, channels)
        self.found = found is not None
        if found is None:
            with files.locked(folder, name):
                # Meanwhile another process may have done it.
                if not path.exists() or files.mapped(path, key, channels) is None:
                    files.write(path, key, self._most(), self._decoded())
            found = files.mapped(path, key, channels)
        if found is None:
            raise OSError(f"{path} does not hold what was written")
        with suppress(OSError):  # a folder that is filled for all may be read-only
            os.utime(path)
        self._samples, self.bytes = found, found.bytes

    def _most(self) -> int:
        """The most samples that can be kept. Where they vary in size, only decoding tells how many are. [count]"""
        if self._info.varies:
            return len(self._wanted) if self._limit else 0
        height, width = self._info.size
        return min(len(self._wanted), self._limit // (height * width * (self._info.image_channels + 1)))

    def _decoded(self) -> Iterator[Sample | None]:
        """Decode what is wanted, in order; None for what cannot be read: it will be tried again in training."""
        problems: list[str] = []
        unreadable = Unreadable(self.subject, len(self._wanted), "left out")
        used, most = 0, self._most()
        # Pillow and torch let go of the interpreter lock, so threads decode side by side.
        with ThreadPoolExecutor(max(1, torch.get_num_threads())) as threads:
            for start in range(0, most, _AT_ONCE):
                chunk = self._wanted[start : min(most, start + _AT_ONCE)]
                for index, sample in zip(chunk, threads.map(self._try, chunk), strict=True):
                    if isinstance(sample, UnreadableError):
                        unreadable.collect((index, str(sample)))
                        yield None
                    elif isinstance(sample, DataError):
                        problems.append(str(sample))
                    elif (used := used + _bytes(sample)) > self._limit:
                        break
                    else:
                        yield sample
                if used > self._limit:
                    break
        if problems:
            report([*problems, *unreadable.named()])
        unreadable.check()

    def _try(self, index: int) -> Sample | DataError:
        try:
            return self._read(index)
        except DataError as error:
            return error

    def _read(self, index: int) -> Sample:
        """Decode a sample and hold it to the promise: torchmetrics has but a bare RuntimeError for a wrong label."""
        image, label = self._source[index]
        height, width = tuple(label.shape) if self._info.varies and label.ndim == 2 else self._info.size
        found, needed = (
            (tuple(image.shape), tuple(label.shape)),
            ((self._info.image_channels, height, width), (height, width)),
        )
        if found != needed:
            raise DataError(
                law(self.subject, f"samples of shape {needed}", {"sample": index, "shapes": found}, "Mend its split")
            )
        wrong = label[(label >= self._info.classes) & (label != IGNORE)]
        if wrong.numel():
            needs = f"labels from 0 to {self._info.classes - 1}, or {IGNORE}"
            got = {"sample": index, "found": sorted(set(wrong.tolist()))[:5]}
            raise DataError(law(self.subject, needs, got, "Correct its classes"))
        return image.contiguous(), label.contiguous()


def _bytes(sample: Sample) -> int:
    return sum(part.numel() for part in sample)


def _folder(cache: str | None) -> Path | None:
    try:
        return files.folder_of(cache)
    except OSError as error:
        _log.warning("decoded samples stay in this process's memory: %s", error)
        return None
