"""Attention refinement: a gate over channels that may close, and the mean of the map beside it."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from blocks.contexts.arm import AttentionRefinement, ContextRefinement
from blocks.features import FeatureMap


def test_the_gate_is_a_normalised_convolution_of_the_mean_without_relu():
    torch.manual_seed(0)
    block = AttentionRefinement(6, 8).eval()
    norm = block.gate[1]
    for parameter in (norm.weight, norm.bias, norm.running_mean):
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 6, 5, 9)
    convolved = block.conv(x)
    mean = convolved.mean(dim=(2, 3))
    logits = mean @ block.gate[0].weight.flatten(1).t()
    logits = F.batch_norm(logits, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    assert (logits < 0).any(), "with a ReLU no gate would close below a half"
    torch.testing.assert_close(block(x), convolved * torch.sigmoid(logits)[..., None, None])


def test_the_mean_of_the_incoming_map_is_added_to_every_pixel():
    context = ContextRefinement(FeatureMap(6, 8), channels=8).eval()
    x = torch.randn(2, 6, 5, 9)
    added = context(x) - context.refine(x)
    expected = context.mean.conv(x.mean(dim=(2, 3), keepdim=True))
    assert expected.any()
    torch.testing.assert_close(added, expected.expand_as(added))


def test_without_the_mean_the_gate_stands_alone():
    context = ContextRefinement(FeatureMap(6, 8), channels=8, global_average=False).eval()
    x = torch.randn(2, 6, 5, 9)
    assert torch.equal(context(x), context.refine(x))
    ours, gate = (sum(p.numel() for p in m.parameters()) for m in (context, AttentionRefinement(6, 8)))
    assert ours == gate
