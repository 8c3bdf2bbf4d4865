"""Attention to sparse sets of pixels, or with weights that pixels predict."""

from __future__ import annotations

from benchmarks.published.case import Published, classifier
from blocks.contexts.ccnet import CrissCross, CrissCrossAttention
from blocks.contexts.isa import InterlacedAttention, InterlacedSparseAttention
from blocks.contexts.ocnet import AtrousObjectContext, BaseObjectContext, PyramidObjectContext
from blocks.contexts.psanet import PointwiseSpatialAttention, SpatialAttention
from blocks.features import FeatureMap

DEEP = FeatureMap(512, 8)
SHARED = "theirs computes the projection that queries and keys share twice"
NEEDED = "ours predicts the masks only where the map needs them"

SPARSE = {
    "base_oc": Published("ocnet", build=lambda: BaseObjectContext(512, 512, 256, 256), note=SHARED),
    "base_oc_openseg": Published("ocnet", build=lambda: BaseObjectContext(512, 512, 256, 256, variant="openseg")),
    "pyramid_oc": Published("ocnet", build=lambda: PyramidObjectContext(512, 512, (1, 2, 3, 6)), note=SHARED),
    "asp_oc": Published("ocnet", build=lambda: AtrousObjectContext(512, 256, 128, (12, 24, 36)), note=SHARED),
    "isa": Published(
        "isa",
        build=lambda: InterlacedAttention(512, 512, 256, 512, (8, 8)),
        recorded=lambda: InterlacedAttention(64, 64, 32, 64, (4, 4)),
    ),
    "isa_head_mmseg": Published(
        "isa",
        build=lambda: InterlacedSparseAttention(DEEP, channels=128, keys=64, variant="mmseg"),
        params_elsewhere=classifier(128),
    ),
    "ccnet_cca": Published(
        "ccnet",
        build=lambda: CrissCrossAttention(512),
        recorded=lambda: CrissCrossAttention(64),
    ),
    "cc_head_mmseg": Published(
        "ccnet",
        build=lambda: CrissCross(DEEP, channels=128, variant="mmseg"),
        params_elsewhere=classifier(128),
    ),
    "psa_psanet": Published("psanet", build=lambda: SpatialAttention(512, 128, (65, 65)), note=NEEDED),
    "psa_head_mmseg": Published(
        "psanet",
        build=lambda: PointwiseSpatialAttention(DEEP, (512, 512), channels=128, values=128),
        params_elsewhere=classifier(128),
        note=f"{NEEDED}; theirs pads its 1x1 projection by one pixel",
    ),
}
