"""How deep in a backbone each of its weights lies."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any, cast

import timm
import torch
from torch import nn

from blocks.backbones.timm import Timm
from blocks.features import Features, Shapes


def depths(backbone: nn.Module, source: Shapes) -> dict[str, int]:
    """Number the layers of a backbone from 0, and say in which one each weight lies.

    A timm model has the layers that timm groups it into, most often its blocks. In other encoders, and where timm does
    not say, a layer is what one more level of the pyramid needs: a weight belongs to the finest level that depends on
    it. Both branches of an encoder of two, and whatever is put beside a timm model, are sorted in that way too.

    Args:
        backbone: whose weights.
        source: what is known of the image, at least.

    Returns:
        The layer of every weight, by its name; the deepest is the largest number, and none is left out between.
    """
    found = (isinstance(backbone, Timm) and _grouped(backbone)) or _by_level(backbone, source)
    ranks = {layer: rank for rank, layer in enumerate(sorted(set(found.values())))}
    return {name: ranks[layer] for name, layer in found.items()}


def _grouped(backbone: Timm) -> dict[str, int] | None:
    """Find each weight in timm's grouping, or return None where one is missing there."""
    known = _grouping(backbone.name)
    layers = {name: known.get(name.removeprefix("model.")) for name, _ in backbone.named_parameters()}
    if None in layers.values():
        return None
    return cast(dict[str, int], layers)


@functools.cache
def _grouping(model: str) -> Mapping[str, int]:
    """Timm's layers of a whole model, by all names that a weight may have where only features are wanted."""
    # It is built for its names alone, and draws no number that belongs to the weights.
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        whole: Any = timm.create_model(model)
    if not hasattr(whole, "group_matcher"):
        return {}
    layers = timm.models.group_parameters(whole, whole.group_matcher(coarse=False), reverse=True)
    known: dict[str, int] = {}
    for name, layer in layers.items():
        # What timm rebuilds has its outer containers unfolded; what it wraps lies inside.
        for spelling in (name, name.replace(".", "_", 1), f"body.{name}", f"model.{name}"):
            known.setdefault(spelling, layer)
    return known


def _by_level(backbone: nn.Module, source: Shapes) -> dict[str, int]:
    """Ask the gradients, on the meta device, which weights each level depends on; what none needs is the deepest."""
    twin = copy.deepcopy(backbone).to("meta").eval().requires_grad_(True)
    names, weights = zip(*twin.named_parameters(), strict=True)
    with torch.enable_grad():
        pyramid = twin(Features(torch.empty(1, source.image_channels, *source.size, device="meta"))).pyramid
    layers: dict[str, int] = {}
    for place, level in enumerate(pyramid):
        gradients = torch.autograd.grad(level.sum(), weights, allow_unused=True, retain_graph=True)
        for name, gradient in zip(names, gradients, strict=True):
            if gradient is not None:
                layers.setdefault(name, place)
    return {name: layers.get(name, len(pyramid) - 1) for name in names}
