"""Hybrid attention: classes against the formulas, regions against loops over pixels."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.contexts.hmanet import ClassAugmentedAttention, ClassChannelAttention, HybridAttention, RegionAttention
from blocks.features import FeatureMap, Features, Shapes


@pytest.mark.parametrize("expansion", [0, 3])
def test_classes_are_seen_by_affinity_of_channels(expansion):
    torch.manual_seed(0)
    block = ClassAugmentedAttention(6, 8, 4, keys=5, expansion=expansion).eval()
    x = torch.randn(2, 6, 3, 5)
    given, logits = block(x)
    reduced = block.reduce(x)
    torch.testing.assert_close(logits, block.classify(reduced))
    share, projected = logits.softmax(dim=1), block.project(reduced)
    affinity = torch.einsum("nchw,nkhw->nck", projected, share).softmax(dim=2)
    if expansion:
        weight = block.channel.shrink(block.channel.grow(share.mean(dim=(2, 3))))
        affinity = (affinity * (1 + weight[:, None])).softmax(dim=2)
    context = torch.einsum("nck,nkhw->nchw", affinity, share)
    torch.testing.assert_close(given, block.fuse(torch.cat([block.up(context), reduced], dim=1)))


def test_the_hidden_width_grows_with_the_classes():
    count = sum(p.numel() for p in ClassChannelAttention(19, 150).parameters())
    assert count == 2 * 150 * 19**2 + 150 * 19 + 19


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_pixel_looks_at_its_region_or_at_its_place_in_all_regions(shuffled):
    torch.manual_seed(0)
    block = RegionAttention(4, 3, shuffled=shuffled).eval()
    x = torch.randn(1, 4, 6, 6)
    query, key, value = block.query(x), block.key(x), block.value(x)
    context = torch.zeros_like(query)
    for i in range(6):
        for j in range(6):
            if shuffled:
                places = [(a, b) for a in range(i % 3, 6, 3) for b in range(j % 2, 6, 2)]
            else:
                places = [(a, b) for a in range(6) for b in range(6) if (a // 3, b // 2) == (i // 3, j // 2)]
            logits = torch.stack([key[0, :, a, b] @ query[0, :, i, j] for a, b in places]) / 3**0.5
            seen = torch.stack([value[0, :, a, b] for a, b in places])
            context[0, :, i, j] = logits.softmax(dim=0) @ seen
    torch.testing.assert_close(block(x, (3, 2)), x + block.up(context))


def test_large_regions_are_seen_as_averages():
    torch.manual_seed(0)
    block = RegionAttention(4, 3, shuffled=False).eval()
    x = torch.randn(1, 4, 8, 8)
    query, key, value = (layer(x).flatten(2) for layer in (block.query, block.key, block.value))
    key, value = (F.avg_pool2d(y.unflatten(2, (8, 8)), 2).flatten(2) for y in (key, value))
    context = value @ (query.transpose(1, 2) @ key / 3**0.5).softmax(dim=2).transpose(1, 2)
    torch.testing.assert_close(block(x, (8, 8)), x + block.up(context.unflatten(2, (8, 8))))


@pytest.mark.parametrize("size", [(1, 1), (3, 20), (17, 23)])
def test_two_looks_reach_every_pixel_that_regions_of_any_size_hold(size):
    torch.manual_seed(0)
    source = Shapes(size=size, classes=3, pyramid=(FeatureMap(32, 1),))
    stage = HybridAttention(source, parts="rsa", channels=32, keys=32).eval()
    x = torch.randn(1, 32, *size, requires_grad=True)
    given = stage(Features(x, pyramid=(x,)))
    given.pyramid[0][0, :, -1, -1].square().sum().backward()
    assert given.coarse == ()
    assert (x.grad.abs().sum(dim=1) > 0).all()


def test_the_class_map_is_what_the_loss_supervises():
    source = Shapes(size=(5, 7), classes=3, pyramid=(FeatureMap(8, 1),))
    x = torch.randn(2, 8, 5, 7)
    for variant, least in (("paper", -100.0), ("code", 0.0)):
        stage = HybridAttention(source, channels=8, keys=8, expansion=2, variant=variant)
        (logits,) = stage(Features(x, pyramid=(x,))).coarse
        assert logits.shape == (2, 3, 5, 7)
        assert logits.min() >= least
        assert (logits.min() < 0) == (variant == "paper")
