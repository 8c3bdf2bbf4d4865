"""Networks whose weights are made by a network."""

from __future__ import annotations

from benchmarks.published.case import Published
from blocks.architecture import Architecture, Component
from blocks.network import Network

HYPERSEG_M = Architecture(
    backbone=Component.of("timm", {"model": "tf_efficientnet_b1", "levels": 5}),
    align=Component("last"),
    head=Component.of("hyperseg", {"slices": "first"}),
)

HYPER = {
    "hyperseg_m": Published("hyperseg", build=lambda: Network(HYPERSEG_M, size=(256, 512), classes=19)),
}
