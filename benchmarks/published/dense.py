"""Attention of every pixel to all others, or to averages of them."""

from __future__ import annotations

from benchmarks.published.case import Published, classifier
from blocks.contexts.ann import AsymmetricBlock, AsymmetricBlocks
from blocks.contexts.danet import ChannelAttention, DualAttention, PositionAttention
from blocks.contexts.dnl import DisentangledBlock
from blocks.contexts.non_local import NonLocalBlock
from blocks.features import FeatureMap

VALUES = "values are projected after averaging: the same numbers from 110 cells instead of all pixels"
SHARED = f"queries and keys share one projection, which runs once, not twice; {VALUES}"

DENSE = {
    "nonlocal_mmcv": Published("non_local", build=lambda: NonLocalBlock(512, 256)),
    "nonlocal_pytorch": Published("non_local", build=lambda: NonLocalBlock(512, 256, scaled=False, bias=True)),
    "danet_pam": Published(
        "danet", build=lambda: PositionAttention(512, 64), recorded=lambda: PositionAttention(64, 8)
    ),
    "danet_cam": Published("danet", build=ChannelAttention, recorded=ChannelAttention),
    "danet_head": Published(
        "danet",
        build=lambda: DualAttention(FeatureMap(512, 8), channels=128),
        params_elsewhere=3 * classifier(128),
        note="three classifiers (one here, in the head; two serve only training) are not counted",
    ),
    "ann_apnb": Published(
        "ann",
        build=lambda: AsymmetricBlock(512, 512, keys=256, values=256),
        recorded=lambda: AsymmetricBlock(64, 64, keys=32, values=32),
        note=SHARED,
    ),
    "ann_afnb": Published("ann", build=lambda: AsymmetricBlock(256, 512, 512, keys=128, values=128), note=VALUES),
    "ann_head_mmseg": Published(
        "ann",
        build=lambda: AsymmetricBlocks(512, 256, 128, keys=64, values=64, bias=False),
        call=lambda module, low, high: module(high, low),
        params_elsewhere=classifier(128),
        note=SHARED,
    ),
    "dnl": Published("dnl", build=lambda: DisentangledBlock(512, 256), recorded=lambda: DisentangledBlock(64, 32)),
    "dnl_mmseg": Published("dnl", build=lambda: DisentangledBlock(512, 256, variant="mmseg")),
}
"""By the name of the published module in the reference facts."""
