"""What several aligns do to a whole pyramid: take its deep end, hand its content down level by level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, TypeVar

from torch import Tensor
from torch.nn import functional as F

from blocks.layers import resize, size_of

T = TypeVar("T")
Resize = Callable[[Tensor, tuple[int, int]], Tensor]


def nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a map to height and width by taking the nearest pixel; a map of that size is returned as it is."""
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="nearest")


def resizing(mode: Literal["bilinear", "nearest"], align_corners: bool) -> Resize:
    """Return the function that resizes a map to height and width."""
    return nearest if mode == "nearest" else partial(resize, align_corners=align_corners)


def top_down(levels: Sequence[Tensor], to_size: Resize) -> list[Tensor]:
    """Add each level, once it has received from the coarser ones, to the next finer one.

    Shape:
        levels: (N, C, H_i, W_i), fine to coarse
        output: the same
    """
    merged = [levels[-1]]
    for level in reversed(levels[:-1]):
        merged.append(level + to_size(merged[-1], size_of(level)))
    return merged[::-1]


def deepest(levels: Sequence[T], count: int) -> list[T]:
    """Return up to `count` of the deepest levels, deep to fine; a pyramid's only level comes twice."""
    found = list(levels[: -count - 1 : -1])
    return found if len(found) > 1 else found * 2
