"""STDC's detail guidance: an early map learns where the outlines of the labels are."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.features import Features, Shapes
from blocks.layers import conv_norm_act, resize, size_of
from blocks.losses.cross_entropy import IGNORE
from blocks.losses.named import declared, read
from blocks.options import Range

Unlabelled = Literal["outlined", "left_out"]
FUSION = ((1, 0.6), (2, 0.3), (4, 0.1))  # stride of a Laplacian, and its share in the target


class DetailGuidance(nn.Module):
    """Predict from an early map which pixels are outline, judged by binary cross-entropy plus dice.

    The outline comes from the labels: a Laplacian of the class ids at strides 1, 2 and 4, each binary, weighed 0.6, 0.3
    and 0.1 and made binary again.

    Shape:
        input:  features of the whole network; labels (N, H, W), class ids or 255
        output: scalar; 0 when no pixel is labelled

    Args:
        source: what the whole network gives.
        class_weights: not used: an outline has no class.
        weight: factor of this loss in the sum.
        at: the map to guide: a tap, or `level_1` (the finest of the pyramid) and on.
        channels: width of the head. [count]
        threshold: a pixel is outline where the weighted sum of the three is above it.
        unlabelled: `outlined` takes 255 for one more class, as the authors' code does; with `left_out`, pixels of it
            make no outline and train nothing.

    Raises:
        BlockError: the network has no map of that name.

    Source:
        Fan et al., Rethinking BiSeNet For Real-time Semantic Segmentation, CVPR 2021, sec. 3.2. arXiv:2104.13188

    Deviations:
        As the authors' code: only the pixel with the higher id is outline, and so is the margin of an image unless its
        id is 0; at the default threshold the Laplacian of stride 4 has no say (0.1 is not above 0.1), and the shares
        are constants, since no gradient passes the threshold. Against it, logits are resized as the network resizes
        its own, and images in which nothing is labelled do not count.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        class_weights: Tensor | None = None,
        *,
        weight: Annotated[float, Range(0.0, 100.0)] = 1.0,
        at: str = "detail",
        channels: Annotated[int, Range(1, 4096)] = 64,
        threshold: Annotated[float, Range(0.0, 0.99)] = 0.1,
        unlabelled: Unlabelled = "outlined",
    ) -> None:
        super().__init__()
        self.weight = weight
        self.at = at
        self.threshold = threshold
        self.unlabelled = unlabelled
        self.align_corners = source.align_corners
        width = declared(source, at, giver="; the backbones stdc1 and stdc2 give detail").channels
        self.head = nn.Sequential(conv_norm_act(width, channels, 3), nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, f: Features, labels: Tensor) -> Tensor:
        known = labels != IGNORE
        images = known.any(2).any(1)
        counted = known if self.unlabelled == "left_out" else images.view(-1, 1, 1).expand_as(known)
        target = outline(labels, threshold=self.threshold, ignored=None if self.unlabelled == "outlined" else ~known)
        # In float32 whatever the autocast: dice sums over every pixel.
        logits = resize(self.head(read(f, self.at)).float(), size_of(labels), self.align_corners).squeeze(1)
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * counted
        dice = _dice(logits.sigmoid() * counted, target * counted) * images
        return self.weight * (entropy.sum() / counted.sum().clamp(min=1) + dice.sum() / images.sum().clamp(min=1))


@torch.no_grad()
def outline(labels: Tensor, *, threshold: float = 0.1, ignored: Tensor | None = None) -> Tensor:
    """Draw the outlines of a label map: 1 where the Laplacians of the ids agree on one, else 0.

    Shape:
        input:  labels (N, H, W); ignored (N, H, W), true where a pixel makes no outline, or None
        output: (N, H, W), float32
    """
    fused = torch.zeros(labels.shape, device=labels.device)
    for stride, share in FUSION:
        edges = (_laplacian(labels, stride, ignored) > 0).float().unsqueeze(1)
        fused += share * F.interpolate(edges, size_of(labels)).squeeze(1)
    return (fused > threshold).float()


def _laplacian(labels: Tensor, stride: int, ignored: Tensor | None) -> Tensor:
    """What each pixel's id exceeds its 8 neighbours' by, summed; beyond the margin ids are 0, as a convolution pads.

    Sums over windows, which stay whole numbers under autocast: a convolution would be rounded there.
    """
    ids = labels.float() if ignored is None else labels.float().masked_fill(ignored, 0)
    neighbours: float | Tensor = 9
    if ignored is not None:
        neighbours = 9 - _windows(ignored.float(), stride)
    return ids[:, ::stride, ::stride] * neighbours - _windows(ids, stride)


def _windows(x: Tensor, stride: int) -> Tensor:
    return F.avg_pool2d(x, 3, stride, 1, divisor_override=1)


def _dice(predicted: Tensor, target: Tensor) -> Tensor:
    """One minus the Dice coefficient of each image, smoothed by one pixel: (N, H, W) twice -> (N,)."""
    both = (predicted * target).sum((1, 2))
    return 1 - (2 * both + 1) / (predicted.sum((1, 2)) + target.sum((1, 2)) + 1)
