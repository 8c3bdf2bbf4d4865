"""What only training needs: the embedding of pixels."""

from __future__ import annotations

from benchmarks.published.case import Published
from blocks.losses.contrast import ProjectionHead

CONTRAST = {"contrast_projection": Published("contrast", build=lambda: ProjectionHead(512, 256))}
