"""Pyramid-attended features: attention of each branch's own, without a scale, that starts at nothing."""

from __future__ import annotations

import torch

from blocks.contexts.pafem import PyramidAttendedFeatures
from blocks.features import FeatureMap


def naive(attention, x):
    """What a pixel takes, by the whole matrix of weights."""
    query, key, value = (conv(x).flatten(2) for conv in (attention.query, attention.key, attention.value))
    weight = torch.einsum("nci,ncj->nij", query, key).softmax(dim=2)
    return torch.einsum("nij,ncj->nci", weight, value).reshape(x.shape)


def test_each_branch_adds_what_its_own_attention_takes():
    torch.manual_seed(0)
    context = PyramidAttendedFeatures(FeatureMap(12, 8), channels=32).eval()
    for parameter in context.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 12, 7, 5)
    reduced = context.reduce(x)
    maps = [context.point(reduced)]
    for branch, attention, strength in zip(context.branches, context.attentions, context.strengths, strict=True):
        local = branch(reduced)
        maps.append(local + strength * naive(attention, local))
    mean = context.pooling.conv(reduced.mean(dim=(2, 3), keepdim=True))
    maps.append(mean.repeat(1, 1, 7, 5))
    torch.testing.assert_close(context(x), context.fuse(torch.cat(maps, dim=1)))


def test_it_starts_as_a_pyramid_without_attention():
    context = PyramidAttendedFeatures(FeatureMap(12, 8), channels=16).eval()
    x = torch.randn(1, 12, 6, 9)
    before = context(x)
    for attention in context.attentions:
        torch.nn.init.normal_(attention.value.weight, std=10.0)
    assert torch.equal(context(x), before)


def test_every_activation_learns_one_slope():
    context = PyramidAttendedFeatures(FeatureMap(12, 8), channels=16, rates=(2, 4))
    slopes = [m.weight.numel() for m in context.modules() if isinstance(m, torch.nn.PReLU)]
    assert slopes == [1] * (4 + 2)
