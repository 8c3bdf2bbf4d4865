"""Intersection over union of soft regions."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor, nn

from blocks.losses.cross_entropy import checked_weights
from blocks.losses.dice import regions
from blocks.options import Range


class SoftIou(nn.Module):
    """One minus the soft IoU, averaged over the classes that the labels of the batch hold.

    For each class, with probability p and truth y in {0, 1} over the labelled pixels of the batch, IoU is
    sum p y / sum (p + y - p y). A class that is absent has no intersection and is left out, as in `Dice`.

    Shape:
        input:  logits (N, classes, H, W); labels (N, H, W), class ids or 255
        output: scalar in [0, weight]; 0 when no pixel is labelled

    Args:
        classes: how many classes the logits have. [count]
        class_weights: (classes,); weighs the average over classes.
        weight: factor of this loss in the sum.

    Raises:
        BlockError: `class_weights` does not hold one weight a class.

    Source:
        Rahman and Wang, Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation, ISVC 2016,
        sec. 3. doi:10.1007/978-3-319-50835-1_22

    Deviations:
        *Unverified*: no code of the authors was found; the formula is the paper's. Several classes by softmax, where
        the paper tells foreground from background by sigmoid.
    """

    version: ClassVar[int] = 1
    class_weights: Tensor | None

    def __init__(
        self,
        classes: int,
        class_weights: Tensor | None = None,
        *,
        weight: Annotated[float, Range(0.0, 100.0)] = 1.0,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", checked_weights(classes, class_weights), persistent=False)
        self.weight = weight

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        intersection, size, predicted = regions(logits, labels)
        # No smoothing: the union of a class that occurs has a pixel at least.
        iou = intersection / (size + predicted - intersection).clamp(min=1)
        mass = (size > 0).to(logits.dtype)
        if self.class_weights is not None:
            mass = mass * self.class_weights
        return self.weight * ((1 - iou) * mass).sum() / mass.sum().clamp(min=1e-12)
