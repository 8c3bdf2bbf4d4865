"""Methods that take a map apart by other structures than pixels: low-rank tensors, texture statistics, graphs."""

from __future__ import annotations

from benchmarks.published.case import Published
from blocks.contexts.dgcnet import DualGraph
from blocks.contexts.gald import AggregationDistribution, LocalDistribution
from blocks.contexts.reconet import TensorReconstruction
from blocks.contexts.stlnet import PyramidTexture, QuantizeCount1d, StatisticalTexture, TextureEnhance

BINS = (1, 2, 3, 6)
PAIRS = "pairs are counted by one product of matrices, which the published code does elementwise"

STRUCTURES = {
    "reconet_tgm_trm": Published(
        "reconet",
        build=lambda: TensorReconstruction(512, (64, 64), 64, align_corners=False, variant="released"),
        note="rows times columns, elementwise here, are a product of matrices in the published code",
    ),
    "stl_qco1d": Published("stlnet", build=lambda: QuantizeCount1d(256, 128, 128)),
    "stl_tem": Published("stlnet", build=lambda: TextureEnhance(256, 128, 128)),
    "stl_ptfem": Published("stlnet", build=lambda: PyramidTexture(512, 256, 128, BINS, align_corners=True), note=PAIRS),
    "stl": Published("stlnet", build=lambda: StatisticalTexture(512, 256, align_corners=True), note=PAIRS),
    "gald_block": Published(
        "gald",
        build=lambda: AggregationDistribution(512, 256, groups=8, align_corners=True),
        note="a group's one number scales it elementwise here, as a product of matrices in the published code",
    ),
    "gald_local_attn": Published("gald", build=lambda: LocalDistribution(512, align_corners=True)),
    "dgc_dualgcn": Published(
        "dgcnet",
        build=lambda: DualGraph(512, reduction=4, align_corners=True),
        note="nodes are projected to all channels before they are handed to the pixels, which costs less",
    ),
}
