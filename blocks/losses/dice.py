"""Overlap of predicted and true regions."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor, nn

from blocks.losses.cross_entropy import IGNORE, checked_weights
from blocks.options import Range


class Dice(nn.Module):
    """One minus the soft Dice coefficient, averaged over the classes that the labels of the batch hold.

    For each class, with probability p and truth y in {0, 1} over the labelled pixels of the batch, Dice is
    (2 sum p y + smooth) / (sum p^exponent + sum y + smooth). A class that is absent cannot overlap with anything and is
    left out of the average; what is wrongly given to it is missing where it belongs, and costs there.

    Shape:
        input:  logits (N, classes, H, W); labels (N, H, W), class ids or 255
        output: scalar in [0, weight]; 0 when no pixel is labelled

    Args:
        classes: how many classes the logits have. [count]
        class_weights: (classes,); weighs the average over classes.
        weight: factor of this loss in the sum.
        smooth: added to both sides of the fraction; keeps tiny regions from swinging the loss. [pixels]
        exponent: 2 squares the predicted probabilities in the denominator, as V-Net does.

    Raises:
        BlockError: `class_weights` does not hold one weight a class.

    Source:
        Milletari et al., V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation,
        3DV 2016, sec. 3. arXiv:1606.04797

    Deviations:
        Several classes by softmax, where V-Net has foreground and background; sums run over the batch, not per image,
        so that a class is judged where it occurs.
    """

    version: ClassVar[int] = 1
    class_weights: Tensor | None

    def __init__(
        self,
        classes: int,
        class_weights: Tensor | None = None,
        *,
        weight: Annotated[float, Range(0.0, 100.0)] = 1.0,
        smooth: Annotated[float, Range(1e-6, 1e6)] = 1.0,
        exponent: Annotated[int, Range(1, 2)] = 2,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", checked_weights(classes, class_weights), persistent=False)
        self.weight = weight
        self.smooth = smooth
        self.exponent = exponent

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        overlap, size, predicted = regions(logits, labels, self.exponent)
        dice = (2 * overlap + self.smooth) / (predicted + size + self.smooth)
        mass = (size > 0).to(logits.dtype)
        if self.class_weights is not None:
            mass = mass * self.class_weights
        return self.weight * ((1 - dice) * mass).sum() / mass.sum().clamp(min=1e-12)


def regions(logits: Tensor, labels: Tensor, exponent: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Sum over the labelled pixels of the batch, for each class: p y, y and p^exponent, by softmax.

    Shape:
        input:  logits (N, classes, H, W); labels (N, H, W), class ids or 255
        output: (classes,), three times
    """
    labelled = labels != IGNORE
    truth = labels.masked_fill(~labelled, 0)
    probability = logits.softmax(1) * labelled.unsqueeze(1)
    hit = probability.gather(1, truth.unsqueeze(1)).flatten()
    # Summing by class index instead of one-hot maps: those take as much memory as the logits, twice.
    zeros = logits.new_zeros(logits.shape[1])
    overlap = zeros.index_add(0, truth.flatten(), hit)
    size = zeros.index_add(0, truth.flatten(), labelled.flatten().to(logits.dtype))
    return overlap, size, probability.pow(exponent).sum((0, 2, 3))
