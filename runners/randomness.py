"""The global random generators: seeded for each epoch, and kept in the middle of one."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed(number: int, epoch: int, rank: int = 0) -> None:
    """Seed every global generator; epoch 0 is that of the initial weights, and each process of a trial has its own."""
    state = int(np.random.SeedSequence([number, epoch, rank] if rank else [number, epoch]).generate_state(1)[0])
    torch.manual_seed(state)
    random.seed(state)
    np.random.seed(state)  # other people's components may draw from the global generator


def state(device: torch.device) -> dict[str, Any]:
    """Where the generators stand, as tensors and plain values."""
    numpy = np.random.get_state(legacy=False)
    assert isinstance(numpy, dict)  # which is what `legacy` decides
    key = numpy["state"]["key"].tolist()
    return {
        "torch": torch.get_rng_state(),
        "device": _generators(device).get_rng_state() if device.type != "cpu" else None,
        "python": random.getstate(),
        "numpy": numpy | {"state": numpy["state"] | {"key": key}},
    }


def restore(state: dict[str, Any], device: torch.device) -> None:
    """Go on where `state` was taken."""
    torch.set_rng_state(state["torch"].cpu())
    if device.type != "cpu":
        _generators(device).set_rng_state(state["device"].cpu())
    random.setstate(state["python"])
    numpy = state["numpy"]
    key = np.asarray(numpy["state"]["key"], dtype=np.uint32)
    np.random.set_state(numpy | {"state": numpy["state"] | {"key": key}})


def _generators(device: torch.device) -> Any:
    return torch.cuda if device.type == "cuda" else torch.mps
