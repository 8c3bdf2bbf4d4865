"""Which training images a share of them is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

_DRAW: Final = 20  # any number would do, but it must never change


def chosen(samples: int, share: float) -> Sequence[int]:
    """Return a share of the images in their order, drawn once for all, at least one; a smaller one is part of a larger.

    Args:
        samples: images that there are. [count]
        share: of them, from 0 to 1.
    """
    if share == 1.0:
        return range(samples)
    drawn = np.random.default_rng(_DRAW).permutation(samples)
    return sorted(drawn[: max(1, round(share * samples))].tolist())
