"""Checkpoints: written whole or not at all, and refused where they belong to another result."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from blocks.errors import RunError, law

_log = logging.getLogger("nas.checkpoint")

_VERSION = 1


def save(
    path: Path, state: Mapping[str, Any], *, identity: str, epoch_copy: str | None = None, last: bool = False
) -> None:
    """Write a checkpoint so that a crash at any moment leaves the old or the new one.

    The one before stays beside it until the next is written, for the day on which a disk does not hold what it took.

    Args:
        path: where.
        state: tensors and plain values.
        identity: of the result it belongs to.
        epoch_copy: the name of a second file beside it that stays when the next epoch overwrites the first.
        last: whether training ends with it: the one before goes.

    Raises:
        RunError: the disk does not take it.
    """
    before = before_of(path)
    buffer = io.BytesIO()
    torch.save({"version": _VERSION, "identity": identity, **state}, buffer)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(path, buffer.getbuffer(), before)
        except OSError:
            if not (before.exists() and path.exists()):
                raise
            # Where room is short, the one before is the first to go.
            before.unlink()
            _write(path, buffer.getbuffer(), None)
        if last:
            before.unlink(missing_ok=True)
        if epoch_copy:
            _write(path.with_name(epoch_copy), buffer.getbuffer(), None)
    except OSError as error:
        got = {"path": str(path), "bytes": buffer.tell(), "error": error.strerror or str(error)}
        remedy = "Make room, or keep fewer of them (resources.keep), and go on with --resume"
        raise RunError(law("A checkpoint", "a disk that takes it", got, remedy)) from error


def before_of(path: Path) -> Path:
    """Where the checkpoint before this one lies, while a trial is in training."""
    return path.with_name(f"{path.stem}.before{path.suffix}")


def _write(target: Path, content: memoryview, before: Path | None) -> None:
    # The process id keeps a leftover of a killed process from being taken for ours.
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            # Without it, a loss of power may leave the name without the content.
            os.fsync(file.fileno())
        if before is not None and target.exists():
            _keep(target, before)
        draft.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def _keep(path: Path, before: Path) -> None:
    """Give a checkpoint a second name: nothing is copied, and at every moment it has one of the two."""
    link = path.with_name(f".{before.name}.{os.getpid()}")
    try:
        link.unlink(missing_ok=True)
        link.hardlink_to(path)
        link.replace(before)
    except OSError:
        with contextlib.suppress(OSError):
            link.unlink(missing_ok=True)
        # Not every file system has second names.
        path.replace(before)


def load(path: Path, *, identity: str, device: torch.device) -> dict[str, Any] | None:
    """Read a checkpoint, or the one before where it does not serve, with a warning; None where none does."""
    there = [place for place in (path, before_of(path)) if place.exists()]
    for number, place in enumerate(there, start=1):
        try:
            return read(place, identity=identity, device=device)
        except _UnfitError as error:
            instead = "the one before is used" if number < len(there) else "training starts again"
            _log.warning("checkpoint %s %s, %s%s", place, error.what, instead, error.why)
    return None


def read(path: Path, *, identity: str, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint that must be there.

    Only tensors and plain values are read: a checkpoint cannot run code.

    Raises:
        RunError: it is damaged, or belongs to another result.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        version, found = state["version"], state["identity"]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # the reader meets garbage with whatever its stack machine happens to raise
        raise _UnfitError(path, "is damaged", f": {error}") from error
    if (version, found) != (_VERSION, identity):
        raise _UnfitError(path, f"belongs to another result ({found})")
    return state


class _UnfitError(RunError):
    """A checkpoint does not serve."""

    def __init__(self, path: Path, what: str, why: str = "") -> None:
        got = {"path": str(path), "it": what + why}
        super().__init__(law("A checkpoint", "to be whole and of this network", got, "Train the network again"))
        self.what, self.why = what, why
