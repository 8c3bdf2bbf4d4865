"""Reading a map at chosen places: the regular grid is a resize, and one pixel further is one pixel further."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.aligns.sampling import regular_grid, sampled

SIZES = [((5, 7), (9, 13)), ((1, 1), (4, 3)), ((6, 4), (1, 1)), ((1, 5), (3, 1)), ((4, 6), (4, 6))]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("given", "wanted"), SIZES)
def test_the_regular_grid_resizes_bilinearly(given, wanted, align_corners):
    x = torch.randn(2, 3, *given)
    grid = regular_grid(wanted, align_corners=align_corners, device=x.device).expand(2, -1, -1, -1)
    expected = F.interpolate(x, wanted, mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(sampled(x, grid, align_corners=align_corners), expected, rtol=1e-4, atol=1e-5)


def test_x_comes_before_y_and_the_outside_is_what_was_asked_for():
    x = torch.arange(1.0, 13.0).reshape(1, 1, 3, 4)
    right = regular_grid((3, 4), align_corners=False, device=x.device) + torch.tensor([2 / 4, 0])
    border = sampled(x, right, align_corners=False)
    zeros = sampled(x, right, align_corners=False, padding="zeros")
    torch.testing.assert_close(border[0, 0], x[0, 0][:, [1, 2, 3, 3]])
    torch.testing.assert_close(zeros[..., :3], border[..., :3])
    assert not zeros[..., 3].any()


def test_a_rough_map_is_read_at_exact_places_and_stays_rough():
    x = torch.randn(1, 2, 5, 5)
    grid = regular_grid((301, 301), align_corners=False, device=x.device)
    rough = sampled(x.bfloat16(), grid, align_corners=False)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), sampled(x, grid, align_corners=False), rtol=2e-2, atol=2e-2)
