"""CGRSeg's dynamic prototype guided head: what an image shows of the classes weighs the channels of its map."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor, nn

from blocks.attention import as_map, tokens
from blocks.features import Features, Shapes, aligned, current
from blocks.layers import conv_norm_act
from blocks.options import Range


class PrototypeGate(nn.Module):
    """Weigh the channels of a map by one mix of the prototypes of the classes (DPG).

    Shape:
        x:          (N, channels, H, W), any H, W >= 1
        prototypes: (N, channels, K, 1) of any K classes
        output:     (N, channels, H, W)

    Args:
        channels: of the map. [count]
        hidden: width between the mix and the weights. [count]
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.share = nn.Linear(channels, 1)
        last = nn.Linear(hidden, channels)
        # Of one vector an image, batch statistics would make images depend on each other.
        self.weights = nn.Sequential(nn.Linear(channels, hidden), nn.LayerNorm(hidden), nn.ReLU(), last)
        nn.init.kaiming_normal_(self.share.weight)
        nn.init.zeros_(self.share.bias)
        # All weights start at a half, as in the authors' code.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, prototypes: Tensor) -> Tensor:
        classes = tokens(prototypes)
        mix = self.share(classes).softmax(dim=1).transpose(1, 2) @ classes
        weights: Tensor = self.weights(mix.squeeze(1)).sigmoid()
        return x * weights[:, :, None, None]


class DynamicPrototypes(nn.Module):
    """Gather a prototype of each class by coarse logits, weigh the map by them, and classify it as before.

    One classifier gives both the coarse and the final logits.

    Shape:
        map:    (N, C, H, W), any H, W >= 1
        logits: (N, classes, H, W)

    Args:
        source: what the map holds.
        dropout: of whole channels before the classifier, both times. [probability]

    Raises:
        BlockError: no align has set a map.

    Source:
        Ni et al., Context-Guided Spatial Feature Reconstruction for Efficient Semantic Segmentation, ECCV 2024,
        sec. 3.4. arXiv:2405.06228

    Deviations:
        None from the authors' code. It supervises the final logits alone, so the coarse ones are not handed on: they
        learn through the classifier that they share.
    """

    version: ClassVar[int] = 1

    def __init__(self, source: Shapes, *, dropout: Annotated[float, Range(0.0, 0.9)] = 0.1) -> None:
        super().__init__()
        channels = aligned(source).channels
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, source.classes, 1)
        self.fuse = conv_norm_act(channels, channels, groups=channels)
        self.gate = PrototypeGate(channels, channels)
        self.out = source

    def forward(self, f: Features) -> Features:
        x = current(f)
        coarse = self._classified(self.fuse(x))
        # The softmax runs over the pixels: where is the class, not which class is here.
        gathered = coarse.flatten(2).softmax(dim=2) @ tokens(x)
        prototypes = as_map(gathered, (coarse.shape[1], 1))
        return f._replace(logits=self._classified(self.gate(x, prototypes) + x))

    def _classified(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(x))
        return logits
