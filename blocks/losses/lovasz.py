"""The Lovasz extension of the Jaccard loss."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from blocks.losses.cross_entropy import IGNORE, checked_weights
from blocks.options import Range


class Lovasz(nn.Module):
    """Take the convex extension of one minus IoU, averaged over the classes that the labels hold.

    A pixel's error is one minus the probability of the class where it is true, and that probability elsewhere. Errors
    are sorted, and each is weighed by what a mistake there adds to the Jaccard loss when all larger errors are mistakes
    already. At hard predictions this is one minus IoU exactly.

    Shape:
        input:  logits (N, classes, H, W); labels (N, H, W), class ids or 255
        output: scalar in [0, weight]; 0 when no pixel is labelled

    Args:
        classes: how many classes the logits have. [count]
        class_weights: (classes,); weighs the average over classes.
        weight: factor of this loss in the sum.
        per_image: judge each image alone and average over the images, rather than the batch as one image.

    Raises:
        BlockError: `class_weights` does not hold one weight a class.

    Source:
        Berman et al., The Lovasz-Softmax Loss: A Tractable Surrogate for the Optimization of the
        Intersection-over-Union Measure in Neural Networks, CVPR 2018, sec. 3. arXiv:1705.08790

    Deviations:
        What a mistake adds is computed as it stands, where the authors' code subtracts neighbours of almost equal size
        and loses its digits on large images. Per image, one in which nothing is labelled is left out of the average,
        where the code counts it as 0.
    """

    version: ClassVar[int] = 1
    class_weights: Tensor | None

    def __init__(
        self,
        classes: int,
        class_weights: Tensor | None = None,
        *,
        weight: Annotated[float, Range(0.0, 100.0)] = 1.0,
        per_image: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", checked_weights(classes, class_weights), persistent=False)
        self.weight = weight
        self.per_image = per_image

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        rows = len(labels) if self.per_image else 1
        labels = labels.reshape(rows, -1)
        # One class at a time: to sort them all at once takes the memory of the logits several times over.
        losses = [_extension(p.reshape(rows, -1), labels, k) for k, p in enumerate(logits.softmax(1).unbind(1))]
        mass = torch.stack([(labels == k).any(1) for k in range(len(losses))]).to(logits.dtype)
        if self.class_weights is not None:
            mass = mass * self.class_weights.unsqueeze(1)
        # Not `weighted / mass`: rows in which nothing is labelled have neither.
        each = (torch.stack(losses) * mass).sum(0) / mass.sum(0).clamp(min=1e-12)
        labelled = (labels != IGNORE).any(1).sum().clamp(min=1)
        return self.weight * each.sum() / labelled


def _extension(probability: Tensor, labels: Tensor, k: int) -> Tensor:
    """The extension for class k, of each row: (rows, pixels) and (rows, pixels) -> (rows,)."""
    truth = labels == k
    error = torch.where(truth, 1 - probability, probability).masked_fill(labels == IGNORE, 0)
    return (error * _slopes(error, truth, labels != IGNORE)).sum(1)


@torch.no_grad()
def _slopes(error: Tensor, truth: Tensor, labelled: Tensor) -> Tensor:
    """What a mistake at each pixel adds to the Jaccard loss, the larger errors being mistakes already."""
    order = error.masked_fill(~labelled, -1).argsort(dim=1, descending=True, stable=True)
    truth, labelled = truth.gather(1, order), labelled.gather(1, order)
    found = truth.cumsum(1)  # of whole numbers, which is exact for any number of pixels, and the same on every run
    size = found[:, -1:]
    union = size + (labelled & ~truth).cumsum(1)
    # Missing one more true pixel takes 1 from the intersection; one more false pixel adds 1 to the union.
    missed = 1 / union.clamp(min=1)
    added = (size - found) / union.clamp(min=1) / (union - 1).clamp(min=1)
    slopes = torch.where(truth, missed, added).masked_fill(~labelled, 0)
    return torch.zeros_like(error).scatter(1, order, slopes.to(error.dtype))
