"""The semantic and spatial adaptive classifier (SSA-Seg)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.features import Features, Shapes, aligned
from blocks.layers import relu
from blocks.options import Range

# Cosines lie in [-1, 1]: too flat for a softmax. The authors' code multiplies by this.
_SCALE = 15.0


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
        self.semantic = _mlp(channels)
        self.spatial = _mlp(channels)
        self.centre = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        coarse = self.coarse(self.dropout(x))
        position = self.position(x)
        centres = self.centre(self._semantic(x, coarse) + self._spatial(position, coarse))
        pixels = F.normalize((x + position).flatten(2), dim=1)
        logits = _SCALE * F.normalize(centres, dim=2) @ pixels
        return logits.reshape(coarse.shape), coarse

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


def _mlp(channels: int) -> nn.Sequential:
    half = max(1, channels // 2)
    return nn.Sequential(nn.Linear(2 * channels, half, bias=False), relu(), nn.Linear(half, channels))


class AdaptiveHead(nn.Module):
    """Classify each pixel by its cosine to class centres that are adapted to what the image shows, and where.

    Shape:
        map:    (N, C, H, W)
        logits: (N, classes, H, W)
        coarse: one more of that shape, of a plain 1x1 classifier

    Args:
        source: what the map holds.
        dropout: of whole channels before the coarse classifier. [probability]

    Raises:
        BlockError: no align has set a map.

    Source:
        Ma et al., SSA-Seg: Semantic and Spatial Adaptive Pixel-level Classifier, NeurIPS 2024, sec. 3. arXiv:2405.06525

    Deviations:
        The inference path, trained by its logits and its coarse logits; the branches that see the ground truth and
        their distillation losses are not part of it.
    """

    version: ClassVar[int] = 1

    def __init__(self, source: Shapes, *, dropout: Annotated[float, Range(0.0, 0.9)] = 0.1) -> None:
        super().__init__()
        self.classifier = AdaptiveClassifier(aligned(source).channels, source.classes, dropout=dropout)
        self.out = source._replace(coarse=source.coarse + 1)

    def forward(self, f: Features) -> Features:
        logits, coarse = self.classifier(f.map)
        return f._replace(logits=logits, coarse=(*f.coarse, coarse))
