"""Dilated convolutions, in pyramids and smoothed, and BiSeNet's attention refinement."""

from __future__ import annotations

from benchmarks.published.case import Published
from blocks.contexts.arm import AttentionRefinement
from blocks.contexts.fold_aspp import FoldedPyramid
from blocks.contexts.pafem import PyramidAttendedFeatures
from blocks.contexts.smoothed_dilation import GroupInteraction, SeparableShared
from blocks.features import FeatureMap

RATES = (2, 4, 6)

ATROUS = {
    "pafem": Published("pafem", build=lambda: PyramidAttendedFeatures(FeatureMap(512, 8), channels=512, rates=RATES)),
    "fold_aspp": Published(
        "fold_aspp",
        build=lambda: FoldedPyramid(512, 128, window=2, rates=RATES),
        recorded=lambda: FoldedPyramid(64, 16, window=2, rates=RATES),
    ),
    "smoothed_dilated_ssc": Published("smoothed_dilation", build=lambda: SeparableShared(512, 512, 2)),
    "smoothed_dilated_gi": Published("smoothed_dilation", build=lambda: GroupInteraction(512, 512, 2)),
    "bisenetv1_arm": Published("arm", build=lambda: AttentionRefinement(512, 128)),
}
