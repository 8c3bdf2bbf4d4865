"""Our components set up exactly like the published modules that they are compared with, by the names of those.

What the published modules do (parameters, multiply-accumulates, time, recorded numbers) stands in a folder of reference
facts that does not belong to this repository: see `benchmarks/blocks.py`.
"""

from __future__ import annotations

from benchmarks.published.case import Published
from benchmarks.published.encoders import ENCODERS
from benchmarks.published.pyramids import PYRAMIDS
from benchmarks.published.rectangles import RECTANGLES

PUBLISHED: dict[str, Published] = PYRAMIDS | RECTANGLES | ENCODERS
"""By the name of the published module in the reference facts."""

__all__ = ["PUBLISHED", "Published"]
