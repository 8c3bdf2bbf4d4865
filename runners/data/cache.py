"""Decoded samples in files that all processes of a machine map into their memory: N workers hold them once."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_log = logging.getLogger("nas.data")

Sample = tuple[Tensor, Tensor]

MEMORY = "memory"
"""Instead of a folder: every process keeps its own."""

_MAGIC = b"segnas01"
_HEAD = struct.Struct("<8s32sqqI")  # magic, digest of the key, rows of the index, bytes of the file, checksum of both
_ENDING = ".samples"
_UNUSED = 30 * 24 * 3600  # seconds


def folder_of(cache: str | None) -> Path | None:
    """Where samples are kept on this machine, or None for the process's own memory.

    Args:
        cache: a folder, `memory`, or None for one in the system's temporary folder.

    Raises:
        OSError: the folder cannot be made, or is another person's.
    """
    if cache == MEMORY:
        return None
    if cache is not None:
        folder = Path(cache)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    folder = Path(tempfile.gettempdir()) / f"segnas-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # Everybody may write there: a folder of this name may be a trap.
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder


class Mapped(Sequence[Sample | None]):
    """Samples in a file: tensors that are views of it; None for each one that it does not hold.

    The mapping is private: what somebody changes in place is changed in this process alone. A process that gets this
    object opens the file anew, and holds nothing where it is gone.
    """

    def __init__(self, content: Tensor, index: NDArray[np.int64], channels: int, where: tuple[Path, str]) -> None:
        self._content, self._index, self._channels, self._where = content, index, channels, where

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, number: int) -> Sample | None:  # type: ignore[override]
        offset, height, width = self._index[number].tolist()
        if not height:
            return None
        middle, area = offset + self._channels * height * width, height * width
        image = self._content[offset:middle].view(self._channels, height, width)
        return image, self._content[middle : middle + area].view(height, width)

    def __reduce__(self) -> tuple[object, ...]:
        return _reopened, (*self._where, self._channels, len(self))

    @property
    def bytes(self) -> int:
        """What the samples take, without the index. [bytes]"""
        sides = self._index[:, 1:]
        return int((sides[:, 0] * sides[:, 1]).sum()) * (self._channels + 1)


def _reopened(path: Path, key: str, channels: int, count: int) -> Sequence[Sample | None]:
    return mapped(path, key, channels) or [None] * count


def mapped(path: Path, key: str, channels: int) -> Mapped | None:
    """Map a file, or return None where there is none that is whole and has this key.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            index = _index(file, key)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return None
    if index is None:
        _log.warning("decoded samples in %s are damaged, they are decoded again", path)
        return None
    content = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
    return Mapped(content, index, channels, (path, key))


def _index(file: BinaryIO, key: str) -> NDArray[np.int64] | None:
    """Read offset, height and width of each sample, or return None where the file is not what was written."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    magic, found, rows, size, checksum = _HEAD.unpack(head)
    if (magic, found, size) != (_MAGIC, _digest(key), os.fstat(file.fileno()).st_size):
        return None
    index = file.read(rows * 24)
    if zlib.crc32(head[:-4] + index) != checksum:
        return None
    return np.frombuffer(index, np.int64).reshape(-1, 3)


def write(path: Path, key: str, count: int, samples: Iterable[Sample | None]) -> None:
    """Write a file whole or not at all.

    Args:
        path: where.
        key: says everything that the samples depend on.
        count: how many come at most. [count]
        samples: one after the other; None for one that the file shall not hold.

    Raises:
        OSError: the disk does not take it.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            index = np.zeros((count, 3), np.int64)
            file.seek(_HEAD.size + index.nbytes)
            held = 0
            for held, sample in enumerate(samples, start=1):
                if sample is not None:
                    image, label = sample
                    index[held - 1] = (file.tell(), *label.shape)
                    file.write(image.contiguous().numpy().data)
                    file.write(label.contiguous().numpy().data)
            size, body = file.tell(), index[:held].tobytes()
            head = _HEAD.pack(_MAGIC, _digest(key), held, size, 0)[:-4]
            file.truncate(size)  # seeking alone makes no file longer
            file.seek(0)
            file.write(head + struct.pack("<I", zlib.crc32(head + body)) + body)
            file.flush()
            # Without it, a loss of power may leave the name without the content.
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def path_of(folder: Path, name: str, key: str) -> Path:
    """Where the samples with this key lie."""
    return folder / f"{name}-{_digest(key).decode()[:16]}{_ENDING}"


@contextlib.contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Let one process at a time decode a data set of this name; the system frees the lock of one that dies.

    Raises:
        OSError: the folder takes no locks.
    """
    with (folder / f".{name}.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("waiting for another process that decodes %s", name)
            fcntl.flock(file, fcntl.LOCK_EX)
        # Whoever wrote these drafts had the lock, and has it no more.
        for draft in folder.glob(f".{name}-*{_ENDING}.*"):
            draft.unlink(missing_ok=True)
        yield


def prune(folder: Path, most: int) -> None:
    """Delete the files that nobody has opened for a month, and the oldest of the others beyond `most` bytes.

    Who has mapped one keeps it: the system gives its space back when the last of them ends.
    """
    with contextlib.suppress(OSError):  # another process prunes, too, or the folder may only be read
        found = [(path.stat(), path) for path in folder.glob(f"*{_ENDING}")]
        total = 0
        for about, path in sorted(found, key=lambda one: one[0].st_mtime, reverse=True):
            total += about.st_size
            if total > most or about.st_mtime < time.time() - _UNUSED:
                path.unlink(missing_ok=True)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).hexdigest()[:32].encode()
