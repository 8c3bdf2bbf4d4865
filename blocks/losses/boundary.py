"""How well predicted boundaries meet the true ones."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks.errors import BlockError, law
from blocks.losses.cross_entropy import IGNORE, checked_weights
from blocks.options import Range


class Boundary(nn.Module):
    """One minus the F1 score of boundaries, averaged over the regions: each class in each image that has a boundary.

    Boundaries are what a small maximum window adds to the inverted map: the inner rim of a region, soft where the
    prediction is. Precision is the share of the predicted rim that lies near the true one, recall the reverse; near
    means within a second, larger window. No distance transform is needed, and every step has a gradient.

    Shape:
        input:  logits (N, classes, H, W); labels (N, H, W), class ids or 255
        output: scalar in [0, weight]; 0 when no pixel is labelled or there is no boundary

    Args:
        classes: how many classes the logits have. [count]
        class_weights: (classes,); weighs the average over regions.
        weight: factor of this loss in the sum.
        theta0: side of the window that finds boundaries, odd; a rim is half as wide. [px]
        theta: side of the window that says what is near, odd; not more than regions are apart. [px]
        smooth: added to both sides of precision and recall; keeps tiny boundaries, and predictions that have none, from
            swinging the loss. [pixels]

    Raises:
        BlockError: `class_weights` does not hold one weight a class, or a window has no middle.

    Source:
        Bokhovkin and Burnaev, Boundary Loss for Remote Sensing Imagery Semantic Segmentation, ISNN 2019, sec. 3.
        arXiv:1905.07852

    Deviations:
        *Unverified*: no code of the authors was found; a re-implementation in wide use is followed, its `theta` too.
        Several classes by softmax, where the paper has one. Classes without a boundary in an image, whose F1 is 0
        whatever is predicted, are left out of the average. `smooth` is ours: without it the gradient grows without
        bound where the prediction is flat. Ignored pixels are no boundary and make none.
    """

    version: ClassVar[int] = 1
    class_weights: Tensor | None

    def __init__(
        self,
        classes: int,
        class_weights: Tensor | None = None,
        *,
        weight: Annotated[float, Range(0.0, 100.0)] = 1.0,
        theta0: Annotated[int, Range(3, 63)] = 3,
        theta: Annotated[int, Range(3, 255)] = 5,
        smooth: Annotated[float, Range(1e-6, 1e6)] = 1.0,
    ) -> None:
        super().__init__()
        for name, side in (("theta0", theta0), ("theta", theta)):
            if side % 2 == 0:
                raise BlockError(law("boundary", f"an odd {name}", {name: side}, f"Use {side - 1} or {side + 1}"))
        self.register_buffer("class_weights", checked_weights(classes, class_weights), persistent=False)
        self.weight = weight
        self.theta0 = theta0
        self.theta = theta
        self.smooth = smooth

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        labelled = (labels != IGNORE).unsqueeze(1)
        ids = torch.arange(logits.shape[1], device=labels.device).view(-1, 1, 1)
        true = self._rim((labels.unsqueeze(1) == ids).to(logits.dtype), labelled)
        predicted = self._rim(logits.softmax(1), labelled)
        precision = self._share(predicted, near=_maximum(true, self.theta))
        recall = self._share(true, near=_maximum(predicted, self.theta))
        f1 = 2 * precision * recall / (precision + recall)
        mass = (true.amax((2, 3)) > 0).to(logits.dtype)
        if self.class_weights is not None:
            mass = mass * self.class_weights
        return self.weight * ((1 - f1) * mass).sum() / mass.sum().clamp(min=1e-12)

    def _rim(self, region: Tensor, labelled: Tensor) -> Tensor:
        """What of the map is near its outside; an ignored pixel is nobody's outside."""
        outside = (1 - region) * labelled
        return (_maximum(outside, self.theta0) - outside) * labelled

    def _share(self, rim: Tensor, *, near: Tensor) -> Tensor:
        """How much of a rim lies where `near` is, of each region: (N, classes)."""
        return ((rim * near).sum((2, 3)) + self.smooth) / (rim.sum((2, 3)) + self.smooth)


def _maximum(x: Tensor, side: int) -> Tensor:
    return F.max_pool2d(x, side, 1, side // 2)
