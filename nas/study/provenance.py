"""Where and with what a sweep is run: what a reader of its results wants to know in a year."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = ("segnas", "torch", "torchvision", "timm", "torchmetrics", "optuna", "ray", "sqlalchemy", "numpy")


def provenance(data_fingerprint: str, weights: str = "") -> dict[str, Any]:
    """Collect the git revision of the working folder, versions, hardware and the command line."""
    import torch

    status = _git("status", "--porcelain")
    return {
        "revision": _git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "data_fingerprint": data_fingerprint,
        "weights": weights,
        "command": shlex.join(sys.argv),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "host": platform.node(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        # Not a repository, or no git: nothing to note.
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
