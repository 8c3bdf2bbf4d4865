"""The semantic and spatial adaptive classifier (SSA-Seg)."""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.features import Features, Shapes, Vectors, aligned
from blocks.layers import relu
from blocks.options import Range

# Cosines lie in [-1, 1]: too flat for a softmax. The authors' code multiplies by this.
SCALE = 15.0


class Adapted(NamedTuple):
    """What the classifier finds in an image.

    Args:
        logits: (N, classes, H, W), of the adapted centres.
        coarse: (N, classes, H, W), of the fixed ones.
        position: (N, channels, H, W), where each pixel is.
        semantic: (N, classes, channels), centres of what the classes look like.
        spatial: (N, classes, channels), centres of where they are.
    """

    logits: Tensor
    coarse: Tensor
    position: Tensor
    semantic: Tensor
    spatial: Tensor


class AdaptiveClassifier(nn.Module):
    """Adapt the centres of the classes to the image, from coarse logits, and classify by cosine.

    Shape:
        x:      (N, channels, H, W)
        output: logits (N, classes, H, W) and coarse logits of the same shape

    Args:
        channels: of the map. [count]
        classes: how many are told apart. [count]
        dropout: of whole channels before the coarse classifier. [probability]
    """

    def __init__(self, channels: int, classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.coarse = nn.Conv2d(channels, classes, 1)
        self.position = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.places = nn.Embedding(classes, channels)
        self.semantic = centre_mlp(channels)
        self.spatial = centre_mlp(channels)
        self.centre = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.adapt(x)
        return found.logits, found.coarse

    def adapt(self, x: Tensor) -> Adapted:
        """Classify, and hand out what was found on the way."""
        coarse = self.coarse(self.dropout(x))
        position = self.position(x)
        semantic, spatial = self._semantic(x, coarse), self._spatial(position, coarse)
        logits = cosine_logits(x + position, self.centre(semantic + spatial))
        return Adapted(logits, coarse, position, semantic, spatial)

    def _semantic(self, x: Tensor, coarse: Tensor) -> Tensor:
        """Centres of what the classes look like in this image: (N, classes, channels)."""
        share = coarse.flatten(2).softmax(dim=1)
        # Divided before the sum over pixels: in half precision that sum would overflow.
        mean = (share / (share.sum(dim=2, keepdim=True) + 1e-12)) @ x.flatten(2).transpose(1, 2)
        fixed = self.coarse.weight.flatten(1).expand_as(mean)
        centres: Tensor = self.semantic(torch.cat([mean, fixed], dim=2))
        return centres

    def _spatial(self, position: Tensor, coarse: Tensor) -> Tensor:
        """Centres of where the classes are in this image: (N, classes, channels)."""
        mean = coarse.flatten(2).softmax(dim=2) @ position.flatten(2).transpose(1, 2)
        centres: Tensor = self.spatial(torch.cat([self.places.weight.expand_as(mean), mean], dim=2))
        return centres


def centre_mlp(channels: int) -> nn.Sequential:
    """Make one centre of two vectors: (..., 2 channels) to (..., channels)."""
    half = max(1, channels // 2)
    return nn.Sequential(nn.Linear(2 * channels, half, bias=False), relu(), nn.Linear(half, channels))


def cosine_logits(x: Tensor, centres: Tensor) -> Tensor:
    """Scaled cosines of each pixel (N, channels, H, W) with each centre (N, classes, channels)."""
    logits = SCALE * F.normalize(centres, dim=2) @ F.normalize(x.flatten(2), dim=1)
    return logits.reshape(x.shape[0], -1, *x.shape[2:])


class AdaptiveHead(nn.Module):
    """Classify each pixel by its cosine to class centres that are adapted to what the image shows, and where.

    Shape:
        map:    (N, C, H, W)
        logits: (N, classes, H, W)
        coarse: one more of that shape, of a plain 1x1 classifier
        taps:   `ssa_position`, where each pixel is
        vectors: `ssa_semantic` and `ssa_spatial`, the adapted centres of each image, before they are added up;
            `ssa_classes` and `ssa_places`, the learned ones of all images

    Args:
        source: what the map holds.
        dropout: of whole channels before the coarse classifier. [probability]

    Raises:
        BlockError: no align has set a map.

    Source:
        Ma et al., SSA-Seg: Semantic and Spatial Adaptive Pixel-level Classifier, NeurIPS 2024, sec. 3. arXiv:2405.06525

    Deviations:
        None. The teacher that sees the ground truth, and the distillation from it, are the loss `ssa_distillation`,
        which reads the taps and vectors; without it this is the inference path, trained by its logits and its coarse
        logits.
    """

    version: ClassVar[int] = 1

    def __init__(self, source: Shapes, *, dropout: Annotated[float, Range(0.0, 0.9)] = 0.1) -> None:
        super().__init__()
        self.classifier = AdaptiveClassifier(aligned(source).channels, source.classes, dropout=dropout)
        position = aligned(source)
        learned_and_found = ("ssa_classes", "ssa_places", "ssa_semantic", "ssa_spatial")
        centres = dict.fromkeys(learned_and_found, Vectors(source.classes, position.channels))
        self.out = source._replace(
            coarse=source.coarse + 1,
            taps={**source.taps, "ssa_position": position},
            vectors={**source.vectors, **centres},
        )

    def forward(self, f: Features) -> Features:
        assert f.map is not None
        found: Adapted = self.classifier.adapt(f.map)
        learned = {"ssa_classes": self.classifier.coarse.weight.flatten(1), "ssa_places": self.classifier.places.weight}
        centres = {"ssa_semantic": found.semantic, "ssa_spatial": found.spatial, **learned}
        return f._replace(
            logits=found.logits,
            coarse=(*f.coarse, found.coarse),
            taps={**f.taps, "ssa_position": found.position},
            vectors={**f.vectors, **centres},
        )
