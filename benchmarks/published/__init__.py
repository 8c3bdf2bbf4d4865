"""Our components set up exactly like the published modules that they are compared with, by the names of those.

What the published modules do (parameters, multiply-accumulates, time, recorded numbers) stands in a folder of reference
facts that does not belong to this repository: see `benchmarks/blocks.py`.
"""

from __future__ import annotations

from benchmarks.published.atrous import ATROUS
from benchmarks.published.case import Published
from benchmarks.published.classes import CLASSES
from benchmarks.published.contrast import CONTRAST
from benchmarks.published.dense import DENSE
from benchmarks.published.encoders import ENCODERS
from benchmarks.published.fusions import FUSIONS
from benchmarks.published.guided import GUIDED
from benchmarks.published.hyper import HYPER
from benchmarks.published.pyramids import PYRAMIDS
from benchmarks.published.rectangles import RECTANGLES
from benchmarks.published.sparse import SPARSE
from benchmarks.published.structures import STRUCTURES
from benchmarks.published.windows import WINDOWS

PUBLISHED: dict[str, Published] = (
    ATROUS
    | CLASSES
    | CONTRAST
    | DENSE
    | ENCODERS
    | FUSIONS
    | GUIDED
    | HYPER
    | PYRAMIDS
    | RECTANGLES
    | SPARSE
    | STRUCTURES
    | WINDOWS
)
"""By the name of the published module in the reference facts."""

__all__ = ["PUBLISHED", "Published"]
