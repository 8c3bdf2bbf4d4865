"""Cross-entropy over labelled pixels."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from blocks.errors import BlockError, law
from blocks.options import Range

IGNORE = 255
"""The label of pixels about which nothing is known: they train nothing and are not evaluated."""


class CrossEntropy(nn.Module):
    """Average the negative log-probability of the true class over the labelled pixels.

    Shape:
        input:  logits (N, classes, H, W); labels (N, H, W), class ids or 255
        output: scalar; 0 when no pixel is labelled

    Args:
        classes: how many classes the logits have. [count]
        class_weights: (classes,); the average is then the weighted one.
        weight: factor of this loss in the sum.
        label_smoothing: share of the target that is spread evenly over all classes.

    Raises:
        BlockError: `class_weights` does not hold one weight a class.

    Source:
        Long et al., Fully Convolutional Networks for Semantic Segmentation, CVPR 2015, sec. 4. arXiv:1411.4038;
        label smoothing: Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, sec. 7. arXiv:1512.00567

    Deviations:
        None.
    """

    version: ClassVar[int] = 1
    class_weights: Tensor | None

    def __init__(
        self,
        classes: int,
        class_weights: Tensor | None = None,
        *,
        weight: Annotated[float, Range(0.0, 100.0)] = 1.0,
        label_smoothing: Annotated[float, Range(0.0, 0.99)] = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", checked_weights(classes, class_weights), persistent=False)
        self.weight = weight
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = F.cross_entropy(
            logits,
            labels,
            self.class_weights,
            ignore_index=IGNORE,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return self.weight * weighted_mean(losses, labels, self.class_weights)


def checked_weights(classes: int, class_weights: Tensor | None) -> Tensor | None:
    """Return the weights as they are.

    Raises:
        BlockError: they do not number one a class.
    """
    if class_weights is not None and tuple(class_weights.shape) != (classes,):
        got = {"classes": classes, "class_weights": tuple(class_weights.shape)}
        raise BlockError(law("A loss", "one weight a class", got, "Give a vector of that length"))
    return class_weights


def weighted_mean(losses: Tensor, labels: Tensor, class_weights: Tensor | None, chosen: Tensor | None = None) -> Tensor:
    """Average pixel losses, already weighted and 0 where ignored, over the chosen pixels (all labelled by default).

    Plain `reduction="mean"` gives NaN when every pixel is ignored; this gives 0 and a zero gradient.
    """
    chosen = labels != IGNORE if chosen is None else chosen
    mass = chosen.to(losses.dtype)
    if class_weights is not None:
        mass = mass * class_weights[labels.masked_fill(labels == IGNORE, 0)]
    return (losses * chosen).sum() / mass.sum().clamp(min=1e-12)
