"""Cross-entropy over the hard pixels alone."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks.losses.cross_entropy import IGNORE, checked_weights, weighted_mean
from blocks.options import Range


class Ohem(nn.Module):
    """Average the cross-entropy over the pixels whose true class is least probable.

    A pixel is hard when its true class has a probability below `threshold`. When fewer than `min_kept` of the labelled
    pixels are, the hardest ones fill up to that share.

    Shape:
        input:  logits (N, classes, H, W); labels (N, H, W), class ids or 255
        output: scalar; 0 when no pixel is labelled

    Args:
        classes: how many classes the logits have. [count]
        class_weights: (classes,); weighs the average, not the choice of pixels.
        weight: factor of this loss in the sum.
        threshold: pixels below it are hard. [probability]
        min_kept: kept at least. [share of the labelled pixels]
        label_smoothing: share of the target that is spread evenly over all classes; it changes the loss of a pixel, not
            which ones are hard.

    Raises:
        BlockError: `class_weights` does not hold one weight a class.

    Source:
        Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining, CVPR 2016, sec. 4.
        arXiv:1604.03540; on pixels: Wu et al., High-performance Semantic Segmentation Using Very Deep Fully
        Convolutional Networks, 2016, sec. 3.3. arXiv:1604.04339

    Deviations:
        The least number of pixels is a share of the labelled ones (1/16 by default), where others fix a count for one
        crop size: a fixed count means another thing at every image size.
    """

    version: ClassVar[int] = 1
    class_weights: Tensor | None

    def __init__(
        self,
        classes: int,
        class_weights: Tensor | None = None,
        *,
        weight: Annotated[float, Range(0.0, 100.0)] = 1.0,
        threshold: Annotated[float, Range(0.01, 1.0)] = 0.7,
        min_kept: Annotated[float, Range(0.0, 1.0)] = 0.0625,
        label_smoothing: Annotated[float, Range(0.0, 0.99)] = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", checked_weights(classes, class_weights), persistent=False)
        self.weight = weight
        self.hard_loss = -math.log(threshold)
        self.min_kept = min_kept
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
        labelled = labels != IGNORE
        surprise = losses.detach()
        chosen = labelled & ((surprise > self.hard_loss) | (surprise >= self._least(surprise, labelled)))
        if self.label_smoothing:
            losses = F.cross_entropy(
                logits,
                labels,
                self.class_weights,
                ignore_index=IGNORE,
                label_smoothing=self.label_smoothing,
                reduction="none",
            )
        elif self.class_weights is not None:
            losses = losses * self.class_weights[labels.masked_fill(~labelled, 0)]
        return self.weight * weighted_mean(losses, labels, self.class_weights, chosen)

    def _least(self, surprise: Tensor, labelled: Tensor) -> Tensor:
        """The loss of the last pixel that belongs to the least share."""
        kept = (self.min_kept * labelled.sum()).ceil().long().view(1)
        hardest_first = surprise.masked_fill(~labelled, -1.0).flatten().sort(descending=True).values
        # Gathered, not indexed: an index that lives on the GPU would have to be waited for.
        last = hardest_first.gather(0, (kept - 1).clamp(min=0))
        return torch.where(kept > 0, last, torch.inf)
