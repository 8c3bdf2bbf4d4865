"""What a contrastive loss remembers of earlier images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ClassMemory(nn.Module):
    """Keep the latest embeddings of each class, in queues of their own.

    Both tensors are buffers that a checkpoint holds, so that a resumed training remembers what it did.

    Args:
        classes: how many queues. [count]
        size: the most that a queue holds. [embeddings]
        channels: of an embedding. [count]
    """

    held: Tensor
    written: Tensor

    def __init__(self, classes: int, size: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("held", torch.zeros(classes, size, channels))
        self.register_buffer("written", torch.zeros(classes, dtype=torch.long))

    @torch.no_grad()
    def add(self, keys: Tensor, classes: Tensor) -> None:
        """Append embeddings (M, channels) of these classes (M,) in their order; the oldest make room."""
        size = self.held.shape[1]
        seen = F.one_hot(classes, len(self.written)).cumsum(0)
        place = seen.gather(1, classes.unsqueeze(1)).squeeze(1) - 1
        fresh = torch.bincount(classes, minlength=len(self.written))
        # Of more than a queue holds only the last are written, lest two meet in one place.
        last = place >= fresh[classes] - size
        slots = (self.written[classes] + place) % size
        self.held[classes[last], slots[last]] = keys[last].to(self.held.dtype)
        self.written += fresh

    def recall(self) -> tuple[Tensor, Tensor]:
        """Return copies of all that is held, (M, channels), and their classes (M,)."""
        filled = torch.arange(self.held.shape[1], device=self.held.device) < self.written.unsqueeze(1)
        return self.held[filled], filled.nonzero()[:, 0]
