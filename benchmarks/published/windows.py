"""Attention inside windows and around them; ORDNet and local-to-global attention are known from papers alone."""

from __future__ import annotations

from benchmarks.published.case import Published
from blocks.contexts.focal import FocalBlock

WINDOWS = {
    "focal_block": Published(
        "focal",
        build=lambda: FocalBlock(96, heads=3),
        note="12 of 230 keys are the same pixel offered twice; ours reads them once, so that attention costs 218/230",
    ),
}
