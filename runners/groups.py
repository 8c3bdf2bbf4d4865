"""Which weights are trained at which rate, and which of them decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from blocks.backbones.depth import depths
from blocks.errors import BlockError, law
from blocks.network import Network, Supervised
from runners.training import Training

_BACKBONE = "network.stages.backbone."


def parameter_groups(supervised: Supervised, training: Training) -> list[dict[str, Any]]:
    """Sort the trained weights into an optimiser's groups: by their rate, and by whether they decay.

    Every weight is in one group, and the same network gives the same groups in the same order, as checkpoints need it.
    Beside what optimisers read, each group has `rate`: the factor of the schedule's learning rate.

    Raises:
        BlockError: a decay from layer to layer is asked for where the backbone has but one.
    """
    rate_of = _rates(supervised.network, training)
    found: dict[float, tuple[list[nn.Parameter], list[nn.Parameter]]] = {}
    for name, weight in supervised.named_parameters():
        if weight.requires_grad:
            decayed, exempt = found.setdefault(rate_of(name), ([], []))
            (exempt if training.decay == "weights" and weight.ndim <= 1 else decayed).append(weight)
    groups = []
    for rate, pair in found.items():
        for weights, decay in zip(pair, (training.weight_decay, 0.0), strict=True):
            if weights:
                groups.append({"params": weights, "weight_decay": decay, "rate": rate})
    return groups


def _rates(network: Network, training: Training) -> Callable[[str], float]:
    """The factor of the learning rate for a weight of a name."""
    layers = depths(network.stages["backbone"], network.shapes) if training.layer_decay < 1.0 else {}
    if layers and len(set(layers.values())) == 1:
        got = {"backbone": network.architecture.backbone.name, "layers": 1}
        remedy = "Set it to 1, or have more levels of the backbone"
        raise BlockError(law("training.layer_decay", "a backbone of two layers or more", got, remedy))
    behind = max(layers.values(), default=0) + 1

    def rate(name: str) -> float:
        if not name.startswith(_BACKBONE):
            return training.head_rate
        below = behind - layers.get(name.removeprefix(_BACKBONE), behind)
        return float(training.backbone_rate * training.layer_decay**below)

    return rate
