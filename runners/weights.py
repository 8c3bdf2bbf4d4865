"""Files of weights that a training starts from: read, checked, and put into a network."""

from __future__ import annotations

import functools
import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from blocks.errors import DataError, law
from blocks.network import Network
from runners.matching import Matched, match
from runners.protocol import Protocol, Work

_log = logging.getLogger("nas.recipe")

CONTAINERS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema", "teacher"),
    *("state_dict", "model_state_dict", "model_state", "model", "module", "network", "net", "weights"),
)
"""Under what other people's checkpoints keep their tensors; averaged weights go first, as they do in timm."""

_DEPTH = 4  # containers within containers that are looked into


def fingerprint_of(path: Path) -> str:
    """A short hash of a file's contents, wherever it lies.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    try:
        state = path.stat()
        return _hashed(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise _unreadable(path, error) from error


@functools.lru_cache(maxsize=32)
def _hashed(path: Path, size: int, modified: int) -> str:
    # Size and time are but for the cache: a file that changed is read anew.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def start(network: Network, protocol: Protocol, work: Work) -> Matched | None:
    """Put the weights that the protocol asks for into a network, and log what came of it.

    Networks that the file does not fit are refused and not trained from scratch: in the tables of a study they could
    not be told from those that had the weights.

    Returns:
        what was matched, or None where the protocol asks for no weights.

    Raises:
        DataError: the file is missing here, is another than the study began with, or holds more than tensors.
        BlockError: it does not fit this network.
    """
    if not protocol.weights:
        return None
    if work.weights is None:
        got = {"weights": None, "protocol": protocol.weights}
        raise DataError(law("This training", "the file of its weights", got, "Set training.weights to where it lies"))
    if (found := fingerprint_of(work.weights)) != protocol.weights:
        got = {"file": str(work.weights), "found": found, "protocol": protocol.weights}
        remedy = "Give every worker the same file, or start a new study"
        raise DataError(law("training.weights", "to be what the study began with", got, remedy))
    matched = load(network, work.weights)
    _log.info("%s", matched.summary())
    return matched


def load(network: Network, path: Path) -> Matched:
    """Put the weights of a file into a network, by name and shape.

    What the file does not have stays as it was: freshly initialised, or timm's own with `pretrained`.

    Raises:
        DataError: the file is missing, damaged, or holds more than tensors.
        BlockError: it does not fit this network.
    """
    matched, chosen = match(network, read(path), path.name)
    with torch.no_grad():
        own = network.state_dict()
        for name, tensor in chosen.items():
            own[name].copy_(tensor)
    return matched


def read(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file: safetensors, or what `torch.save` wrote.

    Taken are a state dict, what lies in the usual containers (`CONTAINERS`), and our own checkpoints: of these the
    weights that they were judged by. Nothing but tensors and plain values is ever read: a file cannot run code.

    Raises:
        DataError: the file is missing, damaged, or holds more than tensors.
    """
    try:
        with path.open("rb") as file:
            opening = file.read(9)
        # Safetensors begin with the length of a header in JSON.
        content: Any = (
            load_file(path) if opening[8:] == b"{" else torch.load(path, map_location="cpu", weights_only=True)
        )
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # the readers meet garbage with whatever they happen to raise
        got = {"file": str(path), "reason": _reason(error)}
        remedy = "Save its state dict alone, with safetensors or torch.save"
        raise DataError(law("A file of weights", "tensors, whole, and nothing that would run", got, remedy)) from error
    tensors = {name: value for name, value in _unpacked(content).items() if isinstance(value, Tensor)}
    if not tensors:
        keys = [str(key) for key in content][:5] if isinstance(content, Mapping) else type(content).__name__
        found: dict[str, object] = {"file": str(path), "found": keys}
        raise DataError(law("A file of weights", "a state dict", found, "Save model.state_dict()"))
    return tensors


def _unpacked(content: Any) -> Mapping[str, Any]:
    """The mapping that holds the tensors."""
    for _ in range(_DEPTH):
        if not isinstance(content, Mapping):
            break
        if isinstance(fit := content.get("fit"), Mapping):  # our own checkpoints
            content = fit.get("average") or fit.get("supervised")
            continue
        inside = [content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping) and content[key]]
        if not inside:
            break
        content = inside[0]
    return {str(key): value for key, value in content.items()} if isinstance(content, Mapping) else {}


def _unreadable(path: Path, error: OSError) -> DataError:
    got = {"file": str(path), "reason": error.strerror or str(error)}
    return DataError(law("training.weights", "a file that can be read", got, "Check the path and its rights"))


def _reason(error: Exception) -> str:
    """What torch says at length, in a few words."""
    text = " ".join(str(error).split())
    forbidden = re.search(r"GLOBAL ([\w.]+)", text)
    if forbidden:
        return f"it would run {forbidden[1]}"
    text = text.partition("WeightsUnpickler error: ")[2].partition(" Check the documentation")[0] or text
    return text[:120] or type(error).__name__
