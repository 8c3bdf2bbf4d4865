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


def save(path: Path, state: Mapping[str, Any], *, identity: str, epoch_copy: str | None = None) -> None:
    """Write a checkpoint so that a crash at any moment leaves the old or the new one.

    Args:
        path: where.
        state: tensors and plain values.
        identity: of the result it belongs to.
        epoch_copy: the name of a second file beside it that stays when the next epoch overwrites the first.

    Raises:
        RunError: the disk does not take it.
    """
    buffer = io.BytesIO()
    torch.save({"version": _VERSION, "identity": identity, **state}, buffer)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for target in (path, *([path.with_name(epoch_copy)] if epoch_copy else [])):
            _write(target, buffer.getbuffer())
    except OSError as error:
        got = {"path": str(path), "bytes": buffer.tell(), "error": error.strerror or str(error)}
        remedy = "Make room, or keep fewer of them (resources.keep), and go on with --resume"
        raise RunError(law("A checkpoint", "a disk that takes it", got, remedy)) from error


def _write(target: Path, content: memoryview) -> None:
    # The process id keeps a leftover of a killed process from being taken for ours.
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def load(path: Path, *, identity: str, device: torch.device) -> dict[str, Any] | None:
    """Read a checkpoint, or return None, with a warning where one was expected but does not serve."""
    if not path.exists():
        return None
    try:
        return read(path, identity=identity, device=device)
    except _UnfitError as error:
        _log.warning("checkpoint %s %s, training starts again%s", path, error.what, error.why)
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
