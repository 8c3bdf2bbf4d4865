"""The catalogue of losses. Logits arrive at the size of the labels; each loss returns its own weighted value."""

from __future__ import annotations

from torch import nn

from blocks.losses.cross_entropy import IGNORE, CrossEntropy
from blocks.losses.dice import Dice
from blocks.losses.ohem import Ohem

LOSSES: dict[str, type[nn.Module]] = {"cross_entropy": CrossEntropy, "dice": Dice, "ohem": Ohem}

__all__ = ["IGNORE", "LOSSES", "CrossEntropy", "Dice", "Ohem"]
