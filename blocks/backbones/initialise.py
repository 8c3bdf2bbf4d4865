"""What the weights of encoders without pretrained ones start from."""

from __future__ import annotations

import math

from torch import nn


def initialise(module: nn.Module, *, per_group: bool = False) -> None:
    """Draw convolutions so that gradients keep their variance through a ReLU (He et al., by fan-out).

    Linear layers are drawn from a truncated normal of deviation 0.02; biases start at 0. Normalisations stay as torch
    makes them.

    Args:
        module: whose layers are drawn, in the order of their definition.
        per_group: count only the outputs of one group, as transformers' code does: depthwise layers start larger.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            outputs = layer.out_channels // (layer.groups if per_group else 1)
            nn.init.normal_(layer.weight, std=math.sqrt(2 / (outputs * math.prod(layer.kernel_size))))
        elif isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
