"""The catalogues of losses: criteria on logits, and auxiliary losses on what else a network gives.

Each returns its own weighted value. A criterion gets logits at the size of the labels; an auxiliary loss is built from
the `Shapes` of the whole network, gets its `Features`, and owns whatever only training needs.
"""

from __future__ import annotations

from torch import nn

from blocks.losses.auxiliary_head import AuxiliaryHead
from blocks.losses.boundary import Boundary
from blocks.losses.contrast import PixelContrast
from blocks.losses.cross_entropy import IGNORE, CrossEntropy
from blocks.losses.detail import DetailGuidance
from blocks.losses.dice import Dice
from blocks.losses.lovasz import Lovasz
from blocks.losses.ohem import Ohem
from blocks.losses.soft_iou import SoftIou
from blocks.losses.ssa_distillation import SpatialSemanticDistillation

LOSSES: dict[str, type[nn.Module]] = {
    "cross_entropy": CrossEntropy,
    "ohem": Ohem,
    "dice": Dice,
    "soft_iou": SoftIou,
    "lovasz": Lovasz,
    "boundary": Boundary,
}
AUXILIARIES: dict[str, type[nn.Module]] = {
    "auxiliary_head": AuxiliaryHead,
    "detail": DetailGuidance,
    "contrast": PixelContrast,
    "ssa_distillation": SpatialSemanticDistillation,
}

__all__ = [
    "AUXILIARIES",
    "IGNORE",
    "LOSSES",
    "AuxiliaryHead",
    "Boundary",
    "CrossEntropy",
    "DetailGuidance",
    "Dice",
    "Lovasz",
    "Ohem",
    "PixelContrast",
    "SoftIou",
    "SpatialSemanticDistillation",
]
