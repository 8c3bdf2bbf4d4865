"""Which tensors of a file belong to which tensors of a network: by name and by shape."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from timm.models import adapt_input_conv
from torch import Tensor

from blocks.backbones.timm import Timm
from blocks.errors import BlockError, law
from blocks.network import Network

WRAPPERS = ("module", "_orig_mod", "model", "network", "net", "backbone", "encoder", "timm_model")
"""What names of tensors begin with when something was wrapped around the network; one may stand in another."""

BACKBONE = "stages.backbone."
_NAMED = 10  # names that a summary spells out
_RGB = 3
_ENOUGH = 0.75  # of a backbone's tensors: position tables may be of another size, and gates of PSA-HRNet are new

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What became of each tensor of a network and of a file.

    Args:
        file: the file's name.
        place: the part of the network that the file is of: the start of its tensors' names, empty for all of it.
        loaded: tensors of the network that the file fills.
        adapted: of these, first convolutions that timm's rule has brought to the image's channels.
        missing: tensors of the network that the file does not have; counters of batches aside.
        unexpected: tensors of the file that the network does not have.
        wrong_shape: the same name but another shape: name, shape in the network, shape in the file.
    """

    file: str
    place: str
    loaded: tuple[str, ...]
    adapted: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[tuple[str, Shape, Shape], ...]

    def summary(self) -> str:
        """One line for a log: counts, and the first ten names of each."""
        place = self.place.rstrip(".") or "the network"
        said = [f"weights {self.file}: {len(self.loaded)} tensors loaded into {place}"]
        wrong = [f"{name} {found} for {own}" for name, own, found in self.wrong_shape]
        groups = {
            "adapted to the image's channels": self.adapted,
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of wrong shape": wrong,
        }
        said += [f"{len(names)} {what} ({shortened(names)})" for what, names in groups.items() if names]
        return "; ".join(said)


def shortened(names: Iterable[str], most: int = _NAMED) -> str:
    """Names with commas between; after some, how many more there are."""
    every = list(names)
    rest = [f"and {len(every) - most} more"] if len(every) > most else []
    return ", ".join(every[:most] + rest)


def match(network: Network, found: Mapping[str, Tensor], file: str) -> tuple[Matched, dict[str, Tensor]]:
    """Find what a file has for a network; nothing is loaded, so the network may lie on the meta device.

    The file may hold a whole network of ours, or a backbone: by timm's names, with or without `features_only`, which
    for ResNets are torchvision's too. Wrappers (`WRAPPERS`) are stripped. Of all readings, the one that fills most
    tensors is taken. A first convolution of timm's that was trained on colour images is adapted to other image
    channels as timm does. Position tables of another size are of wrong shape: they are not resampled.

    Args:
        network: what is to be filled.
        found: the tensors of the file.
        file: its name, for people.

    Returns:
        the report, and for each tensor of the network that can be filled what it is filled with.

    Raises:
        BlockError: the file fills less than three quarters of what it is of: of the timm model, or of the backbone.
    """
    own = network.state_dict()
    stems = _stems(network)
    start, place = max(
        ((start, place) for place in _places(network) for start in _starts(found)),
        key=lambda reading: (*_score(own, found, *reading), len(reading[1])),
    )
    pairs = _pairs(own, found, start, place)
    chosen: dict[str, Tensor] = {}
    adapted, wrong = [], []
    for name, key in pairs.items():
        tensor = found[key]
        if own[name].shape == tensor.shape:
            chosen[name] = tensor
        elif _normal(name) in stems and _adaptable(own[name], tensor):
            chosen[name] = adapt_input_conv(own[name].shape[1], tensor)
            adapted.append(name)
        else:
            wrong.append((name, tuple(own[name].shape), tuple(tensor.shape)))
    used = set(pairs.values())
    matched = Matched(
        file=file,
        place=place,
        loaded=tuple(chosen),
        adapted=tuple(adapted),
        missing=tuple(name for name in own if name not in pairs and _counts(name)),
        unexpected=tuple(key for key in found if key not in used),
        wrong_shape=tuple(wrong),
    )
    _check(matched, own, found)
    return matched, chosen


def _check(matched: Matched, own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse what has tensors in common by chance: the stems of all ResNets, more than half of ResNet-34 and -18."""
    asked = [name for name in own if name.startswith(matched.place or BACKBONE) and _counts(name)]
    filled = set(matched.loaded) & set(asked)
    if filled and len(filled) >= _ENOUGH * len(asked):
        return
    got: dict[str, object] = {"filled": f"{len(filled)} of {len(asked)} tensors"}
    if filled or matched.wrong_shape:
        got["wrong shape"] = shortened((name for name, _, _ in matched.wrong_shape), 3)
        got["missing"] = shortened(matched.missing, 3)
    else:
        got |= {"network": shortened(asked, 3), "file": shortened(found, 3)}
    needs = "weights of this backbone, three quarters of its tensors by name and shape"
    raise BlockError(law(f"The file {matched.file}", needs, got, "Give the file of this backbone, or no weights"))


def _places(network: Network) -> list[str]:
    """Parts of the network that files are of: the whole, the backbone, the timm models in it."""
    inside = [f"{BACKBONE}{name}.".replace("..", ".") for name in _timm(network)]
    return ["", BACKBONE, *(f"{place}{inner}" for place in inside for inner in ("model.", "model.model."))]


def _timm(network: Network) -> dict[str, Timm]:
    backbone = network.stages["backbone"]
    return {name: module for name, module in backbone.named_modules() if isinstance(module, Timm)}


def _starts(names: Iterable[str]) -> list[str]:
    """What names in the file begin with that may be a wrapper's."""
    starts = {"": None}
    for name in names:
        start = ""
        for word in name.split(".")[:-1]:
            if word not in WRAPPERS:
                break
            start += f"{word}."
            starts[start] = None
    return list(starts)


def _score(own: Mapping[str, Tensor], found: Mapping[str, Tensor], start: str, place: str) -> tuple[int, int]:
    pairs = _pairs(own, found, start, place)
    return sum(own[name].shape == found[key].shape for name, key in pairs.items()), len(pairs)


def _pairs(own: Mapping[str, Tensor], found: Mapping[str, Tensor], start: str, place: str) -> dict[str, str]:
    """Tensors of the network -> those of the file that are called the same, behind what each begins with."""
    theirs = _by_name(found, start)
    return {own_name: theirs[name] for name, own_name in _by_name(own, place).items() if name in theirs}


def _by_name(names: Collection[str], start: str) -> dict[str, str]:
    return {_normal(name[len(start) :]): name for name in names if name.startswith(start)}


def _normal(name: str) -> str:
    # What timm's `features_only` flattens: stages.0 becomes stages_0, stem.conv1 becomes stem_conv1.
    return name.replace("_", ".")


def _stems(network: Network) -> set[str]:
    """The names of the first convolutions, in their normal form."""
    stems: set[str] = set()
    for name, module in _timm(network).items():
        first = getattr(module.model, "pretrained_cfg", {}).get("first_conv") or ()
        for conv in (first,) if isinstance(first, str) else first:
            place = f"{BACKBONE}{name}.".replace("..", ".")
            stems |= {_normal(f"{place}{inner}{conv}.weight") for inner in ("model.", "model.model.")}
    return stems


def _adaptable(own: Tensor, found: Tensor) -> bool:
    """Tell whether the two are one convolution, for colour images in the file and for others in the network."""
    return (
        own.ndim == found.ndim == 4
        and found.shape[1] == _RGB
        and (own.shape[0], *own.shape[2:]) == (found.shape[0], *found.shape[2:])
    )


def _counts(name: str) -> bool:
    # Older files do not have these counters, and nothing reads them.
    return not name.endswith(".num_batches_tracked")
