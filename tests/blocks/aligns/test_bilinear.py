"""Bilinear alignment: sum, concatenation, and levels stacked as they come."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from blocks.aligns.bilinear import Bilinear
from blocks.features import FeatureMap, Features, Shapes

SOURCE = Shapes(size=(32, 32), classes=3, pyramid=(FeatureMap(8, 4), FeatureMap(8, 8)))


def aligned(mode: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The fine level, the coarse one at its size, what the fusing convolution was given, and the map."""
    align = Bilinear(SOURCE, mode=mode, channels=8).eval()
    for lateral in align.laterals:
        nn.init.dirac_(lateral.weight)
        nn.init.zeros_(lateral.bias)
    seen = []
    align.fuse.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    fine, coarse = torch.randn(1, 8, 8, 9), torch.randn(1, 8, 4, 4)
    given = align(Features(torch.zeros(1, 3, 32, 32), pyramid=(fine, coarse)))
    return fine, F.interpolate(coarse, (8, 9), mode="bilinear"), seen[0], given.map


def test_sum_adds_the_coarse_level_to_the_fine_one():
    fine, coarse, merged, _ = aligned("sum")
    torch.testing.assert_close(merged, fine + coarse)


def test_concat_puts_them_side_by_side():
    fine, coarse, merged, _ = aligned("concat")
    torch.testing.assert_close(merged, torch.cat([fine, coarse], dim=1))


def test_stack_keeps_every_level_whole():
    source = SOURCE._replace(pyramid=(FeatureMap(8, 4), FeatureMap(3, 8)))
    fine, coarse = torch.randn(1, 8, 8, 9), torch.randn(1, 3, 4, 4)
    f = Features(torch.zeros(1, 3, 32, 32), pyramid=(fine, coarse))
    stacked = torch.cat([fine, F.interpolate(coarse, (8, 9), mode="bilinear")], dim=1)
    plain, fused = (Bilinear(source, mode="stack", fuse=fuse).eval() for fuse in (False, True))
    torch.testing.assert_close(plain(f).map, stacked)
    torch.testing.assert_close(fused(f).map, fused.fuse(stacked))
    assert plain.out.map == fused.out.map == FeatureMap(11, 4)
    assert not list(plain.parameters())
    assert [p.shape for p in fused.parameters()] == [(11, 11, 1, 1), (11,), (11,)]
