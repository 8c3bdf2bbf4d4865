"""Which device a trial runs on, and how many threads it may use."""

from __future__ import annotations

import contextlib
import gc
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from runners.protocol import Work

# Linux keeps a resettable high-water mark of the resident memory; `getrusage` has one that only grows.
_STATUS = Path("/proc/self/status")
_REFERENCES = Path("/proc/self/clear_refs")


def device(work: Work) -> torch.device:
    """Choose CUDA, then Apple's GPU, where a share of a GPU is granted; else the CPU."""
    if work.gpu > 0 and torch.cuda.is_available():
        # An index, because "cuda" alone compares unequal to where tensors really lie.
        return torch.device("cuda", torch.cuda.current_device())
    if work.gpu > 0 and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def describe(device: torch.device) -> str:
    """Name a device for the record, e.g. `cuda:0 NVIDIA H200`, `cpu x86_64`."""
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return f"{device} {platform.machine()}"


@contextmanager
def threads(cpu: float) -> Iterator[None]:
    """Let torch use as many threads as CPUs were granted, and restore the number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, int(cpu)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_bytes(device: torch.device) -> int:
    """The high-water mark of a CUDA device, else of this process, since `forget_peak` where it can forget. [bytes]"""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def forget_peak(device: torch.device) -> None:
    """Count the peak from here on: a trial is not charged for the one before it in the same process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _REFERENCES.exists():
        # Some containers mount /proc read-only; the mark then stays that of the process.
        with contextlib.suppress(OSError):
            _REFERENCES.write_text("5")


def release(device: torch.device) -> None:
    """Give back what the last trial held: cycles first, then what the allocator caches."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
