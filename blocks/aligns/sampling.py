"""Read a map at places that the network itself chooses."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Padding = Literal["zeros", "border"]


def regular_grid(size: tuple[int, int], *, align_corners: bool, device: torch.device) -> Tensor:
    """Say where, on an axis from -1 to 1 across any map, the cells of a map of height and width lie.

    Shape:
        output: (1, H, W, 2), x before y, float32: low precision would lose the places of large maps
    """
    rows, columns = (_axis(side, align_corners, device) for side in size)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), dim=-1)[None]


def _axis(cells: int, align_corners: bool, device: torch.device) -> Tensor:
    if align_corners:
        return torch.linspace(-1, 1, cells, device=device)
    return (2 * torch.arange(cells, device=device) + 1) / cells - 1


def sampled(x: Tensor, at: Tensor, *, align_corners: bool, padding: Padding | None = None) -> Tensor:
    """Read a map bilinearly at the given places.

    Unless said otherwise there are zeros beyond the outermost cells' centres where these are the corners, and the
    outermost cells go on where they are not: so the regular grid gives just what a bilinear resize does.

    Shape:
        x:      (N, C, h, w)
        at:     (N, H, W, 2), x before y, -1 to 1
        output: (N, C, H, W), of the dtype of `x`
    """
    mode: Padding = padding or ("zeros" if align_corners else "border")
    # Under autocast the map may be rougher than the places, and both must be of one kind.
    kind = torch.promote_types(x.dtype, at.dtype)
    read = F.grid_sample(x.to(kind), at.to(kind), mode="bilinear", padding_mode=mode, align_corners=align_corners)
    return read.to(x.dtype)
