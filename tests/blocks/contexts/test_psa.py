"""Polarized self-attention: what the gates of each variant do."""

from __future__ import annotations

import torch

from blocks.contexts.psa import PolarizedSelfAttention
from blocks.features import FeatureMap


def test_the_released_parallel_gate_hardly_tells_pixels_apart_and_the_papers_does():
    torch.manual_seed(0)
    x = 3 * torch.randn(1, 32, 16, 16)
    spread = {}
    for variant in ("code", "paper"):
        gate = PolarizedSelfAttention(FeatureMap(32, 8), variant=variant).spatial(x)
        assert gate.min() > 0
        assert gate.max() < 1
        spread[variant] = gate.std().item()
    assert spread["code"] < 0.01 < spread["paper"]


def test_the_sequential_form_gates_pixels_of_what_the_channels_left():
    context = PolarizedSelfAttention(FeatureMap(16, 8), mode="sequential").eval()
    x = torch.randn(2, 16, 5, 3)
    after_channels = x * context.channel(x)
    torch.testing.assert_close(context(x), after_channels * context.spatial(after_channels))
