"""Files that are written whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from blocks.errors import RunError, law


def write(path: Path, content: bytes | str) -> None:
    """Write a file.

    Raises:
        RunError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> RunError:
    """What is said of a file that cannot be written."""
    got = {"path": str(path), "error": error.strerror or str(error)}
    return RunError(law("--output", "a file that can be written", got, "Give another path"))


def check_target(path: Path) -> None:
    """Refuse a place that nothing can be written to, before any work is done for it.

    Raises:
        RunError: its folder does not exist, or it is a folder.
    """
    if not path.parent.is_dir() or path.is_dir():
        needs = "a file in a folder that exists"
        raise RunError(law("--output", needs, {"output": str(path)}, "Give another path"))
