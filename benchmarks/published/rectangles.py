"""CGRSeg's blocks."""

from __future__ import annotations

from benchmarks.published.case import Published
from blocks.contexts.rcm_pyramid import PyramidContext, RectangularAttention, RectangularCalibration

RECTANGLES = {
    "cgr_rca": Published(
        "rcm_pyramid", build=lambda: RectangularAttention(512), recorded=lambda: RectangularAttention(64)
    ),
    "cgr_rcm": Published(
        "rcm_pyramid", build=lambda: RectangularCalibration(512), recorded=lambda: RectangularCalibration(64)
    ),
    "cgr_pyramid_context": Published("rcm_pyramid", build=lambda: PyramidContext((48, 120, 224))),
}
