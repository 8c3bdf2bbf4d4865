"""Contexts that know the classes: they own a coarse classifier; published modules are handed its logits."""

from __future__ import annotations

from torch import nn

from benchmarks.published.case import Published, classifier
from blocks.contexts.hmanet import ClassAugmentedAttention
from blocks.contexts.isnet import ImageLevelContext, SemanticLevelContext
from blocks.contexts.ocr import ObjectAttention, ObjectContextualRepresentations
from blocks.features import FeatureMap, Shapes


def object_head() -> nn.Module:
    """What mmsegmentation has, whose coarse logits come from another head."""
    source = Shapes(size=(512, 512), classes=19, pyramid=(FeatureMap(512, 8),))
    context = ObjectContextualRepresentations(source, channels=128, keys=64, dropout=0.0)
    context.coarse = nn.Identity()
    return context


CLASSES = {
    "ocr": Published(
        "ocr",
        build=lambda: ObjectAttention(512, 256, 512, dropout=0.05),
        recorded=lambda: ObjectAttention(64, 32, 64),
    ),
    "ocr_head_mmseg": Published(
        "ocr",
        build=object_head,
        call=lambda context, x, coarse: context.objects(context.pixels(x), coarse),
        params_elsewhere=classifier(128),
    ),
    "isnet_ilcm": Published(
        "isnet",
        build=lambda: ImageLevelContext(512, 256),
        note="the mean of the image is convolved once, not at every pixel: 2.1 of 46.2 GMAC less",
    ),
    "isnet_slcm": Published(
        "isnet",
        build=lambda: SemanticLevelContext(512, 256),
        note="each class is projected (in eval) and looked at once, not at every pixel: 2.7 of 44.0 GMAC of "
        "convolutions and nearly all of the 17.2 of attention less",
    ),
    "hmanet_caa_thirdparty": Published(
        "hmanet",
        build=lambda: ClassAugmentedAttention(512, 512, 6, keys=256, expansion=150, rectified=True),
        call=lambda module, x: module(x)[0],
    ),
}
