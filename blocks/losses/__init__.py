"""The catalogues of losses: criteria on logits, and auxiliary losses on what else a network gives.

Each returns its own weighted value. A criterion gets logits at the size of the labels; an auxiliary loss is built from
the `Shapes` of the whole network, gets its `Features`, and owns whatever only training needs.
"""

from __future__ import annotations

from torch import nn

from blocks.losses.cross_entropy import IGNORE, CrossEntropy
from blocks.losses.dice import Dice
from blocks.losses.ohem import Ohem

LOSSES: dict[str, type[nn.Module]] = {"cross_entropy": CrossEntropy, "dice": Dice, "ohem": Ohem}
AUXILIARIES: dict[str, type[nn.Module]] = {}

__all__ = ["AUXILIARIES", "IGNORE", "LOSSES", "CrossEntropy", "Dice", "Ohem"]
