"""The maps of a network that a loss can ask for by name: levels of the pyramid, and taps."""

from __future__ import annotations

from torch import Tensor

from blocks.errors import BlockError, law
from blocks.features import FeatureMap, Features, Shapes

_LEVEL = "level_"


def declared(source: Shapes, name: str, *, giver: str = "") -> FeatureMap:
    """Look up what a network declares under a name: `level_1` (the finest) and on, or that of a tap.

    Args:
        source: what the whole network gives.
        name: of the map.
        giver: ends the error message; says which component gives a tap of that name.

    Raises:
        BlockError: the network has no such map; the message lists those that it has.
    """
    levels = {f"{_LEVEL}{place}": level for place, level in enumerate(source.pyramid, start=1)}
    known = {**levels, **source.taps}
    if name not in known:
        remedy = f"This network gives {', '.join(sorted(known)) or 'none'}{giver}"
        raise BlockError(law("A loss on a map", "the name of one that the network gives", {"at": name}, remedy))
    return known[name]


def read(f: Features, name: str) -> Tensor:
    """Take the map of a name that `declared` knows."""
    return f.taps[name] if name in f.taps else f.pyramid[int(name.removeprefix(_LEVEL)) - 1]
