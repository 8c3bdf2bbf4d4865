"""The weights of a trained network as safetensors, alone or beside a Python file that builds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from safetensors.torch import save

from nas.report.exports.files import write
from nas.study.trained import Trained

_FILE: Final = '''"""A network that `nas` has trained, for `import` or to try: `python {file}`."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from blocks.architecture import Architecture
from blocks.network import Network

ABOUT = {about}
CLASSES = {classes}
SIZE = {size}  # height and width that it was trained at [px]
IMAGE_CHANNELS = {image_channels}
ARCHITECTURE = {architecture}
WEIGHTS = Path(__file__).with_name({weights})


def build(weights: Path | None = WEIGHTS) -> Network:
    """Build it, in eval mode; images are floats from 0 to 1, (N, IMAGE_CHANNELS, H, W); without weights, untrained."""
    network = Network(
        Architecture.from_canonical(ARCHITECTURE), size=SIZE, classes=len(CLASSES), image_channels=IMAGE_CHANNELS
    )
    if weights is not None:
        network.load_state_dict(load_file(weights))
    return network.eval()


if __name__ == "__main__":
    with torch.inference_mode():
        logits = build()(torch.rand(1, IMAGE_CHANNELS, *SIZE))
    print(f"{{ABOUT['network']}}: logits {{tuple(logits.shape)}}")
'''


def write_safetensors(path: Path, found: Trained) -> None:
    """Write the weights, under the names of `Network.state_dict()`; the header says what they are of.

    Raises:
        RunError: the file cannot be written.
    """
    # Tensors that share memory are written as often as they have names: each name then loads by itself.
    tensors = {name: value.contiguous().clone() for name, value in found.network.cpu().state_dict().items()}
    facts = {
        "architecture": found.architecture.canonical(),
        "size": json.dumps(found.protocol.size),
        "classes": json.dumps(_classes(found)),
        "image_channels": str(found.protocol.image_channels),
        "study": found.study,
        "trial": str(found.row["number"]),
    }
    write(path, save(tensors, metadata=facts))


def write_python(path: Path, found: Trained) -> Path:
    """Write a Python file that builds the network, and its weights beside it; return where these are.

    Raises:
        RunError: a file cannot be written.
    """
    weights = path.with_suffix(".safetensors")
    write_safetensors(weights, found)
    text = _FILE.format(
        file=_plain(path.name),
        about=_literal(_about(found)),
        classes=_literal(_classes(found)),
        size=repr(tuple(found.protocol.size)),
        image_channels=found.protocol.image_channels,
        # Without what would be fetched only to be replaced.
        architecture=repr(found.network.architecture.canonical()),
        weights=repr(weights.name),
    )
    write(path, text)
    return weights


def _about(found: Trained) -> dict[str, object]:
    row = found.row
    return {
        "network": found.architecture.summary(),
        "study": found.study,
        "trial": row["number"],
        "miou": row["miou"],
        "epochs": found.epoch,
        "params": row["params"],
        "macs": row["macs"],
        "fingerprint": row["fingerprint"],
    }


def _classes(found: Trained) -> list[str]:
    names = found.info.names
    return list(names)


def _literal(value: object) -> str:
    """As Python writes it: whatever a name holds, it stays a text."""
    return repr(value)


def _plain(name: str) -> str:
    """A file name that can stand in a docstring."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
