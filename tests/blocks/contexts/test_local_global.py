"""Local-to-global attention: what the paths see, and that they are summed."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from blocks.contexts.local_global import LocalGlobalBlock, LocalToGlobalAttention
from blocks.features import FeatureMap


def reach(rates):
    """Which pixels of a 16x16 map change when the one at the top left does."""
    torch.manual_seed(0)
    context = LocalToGlobalAttention(FeatureMap(8, 8), window=4, rates=rates).double().eval()
    x = torch.randn(1, 8, 16, 16).double()
    other = x.clone()
    other[..., 0, 0] += torch.randn(8)  # more than a shift of all channels, which layer norm undoes
    return (context(x) - context(other)).abs().amax(dim=1)[0] > 1e-12


def test_the_map_alone_is_seen_inside_windows_and_its_coarsest_copy_as_a_whole():
    local = reach((1,))
    assert local[:4, :4].all()
    assert local.sum() == 16
    assert reach((1, 2))[:8, :8].all()
    assert not reach((1, 2))[10:].any()
    assert reach((1, 2, 4)).all()


def test_paths_are_summed_at_full_size():
    torch.manual_seed(0)
    block = LocalGlobalBlock(8, heads=2, window=3, rates=(1, 2), mlp_ratio=2.0, align_corners=True)
    x = torch.randn(2, 8, 6, 10)
    normed = F.layer_norm(x.permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2)
    coarse = block.paths[1](F.avg_pool2d(normed, 2))
    x1 = x + block.paths[0](normed) + F.interpolate(coarse, (6, 10), mode="bilinear", align_corners=True)
    expected = x1 + block.mlp(F.layer_norm(x1.permute(0, 2, 3, 1), (8,))).permute(0, 3, 1, 2)
    torch.testing.assert_close(block(x), expected)
