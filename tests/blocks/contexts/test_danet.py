"""Dual attention: no scale over positions, and the sign over channels."""

from __future__ import annotations

import torch
from torch import nn

from blocks.contexts.danet import ChannelAttention, DualAttention, PositionAttention
from blocks.features import FeatureMap


def awake(block: nn.Module) -> nn.Module:
    """A block in eval mode that no longer leaves its map as it is."""
    for name, parameter in block.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, 0.7)
    return block.eval()


def test_positions_are_weighed_by_unscaled_products():
    torch.manual_seed(0)
    block, x = awake(PositionAttention(8, 3)), torch.randn(2, 8, 5, 3)
    query, key, value = (layer(x).flatten(2) for layer in (block.query, block.key, block.value))
    expected = torch.empty_like(x).flatten(2)
    for n in range(2):
        for i in range(15):
            weights = torch.stack([query[n, :, i] @ key[n, :, j] for j in range(15)]).softmax(dim=0)
            expected[n, :, i] = x.flatten(2)[n, :, i] + 0.7 * sum(w * value[n, :, j] for j, w in enumerate(weights))
    torch.testing.assert_close(block(x), expected.reshape(x.shape))


def test_channels_are_weighed_by_the_largest_energy_of_their_row_less_their_own():
    torch.manual_seed(0)
    block, x = awake(ChannelAttention()), 0.3 * torch.randn(2, 6, 5, 3)
    flat = x.flatten(2)
    energy = torch.einsum("ncp,ndp->ncd", flat, flat)
    weights = (energy.amax(dim=2, keepdim=True) - energy).softmax(dim=2)
    expected = x + 0.7 * torch.einsum("ncd,ndp->ncp", weights, flat).reshape(x.shape)
    torch.testing.assert_close(block(x), expected)


def test_a_channel_takes_from_the_one_that_is_least_like_it():
    x = torch.stack([torch.full((4, 4), level) for level in (3.0, 2.0, -3.0)]).unsqueeze(0)
    taken = (awake(ChannelAttention())(x) - x) / 0.7
    torch.testing.assert_close(taken[0, :, 0, 0], torch.tensor([-3.0, -3.0, 3.0]))


def test_energies_are_compared_in_full_precision_under_autocast():
    torch.manual_seed(0)
    x = torch.randn(1, 8, 1, 64).repeat(1, 1, 64, 1) + 2  # energies of thousands, a few apart
    block = awake(ChannelAttention())
    with torch.autocast("cpu", torch.bfloat16):
        rough = block(x)
    torch.testing.assert_close(rough, block(x))


def test_both_branches_are_added_up():
    torch.manual_seed(0)
    source, x = FeatureMap(16, 8), torch.randn(2, 16, 5, 3)
    both = awake(DualAttention(source, channels=8))
    total = torch.zeros(2, 8, 5, 3)
    for place, name in enumerate(("position", "channel")):
        one = awake(DualAttention(source, channels=8, branches=name))
        for ours, theirs in ((one.before, both.before), (one.blocks, both.blocks), (one.after, both.after)):
            ours[0].load_state_dict(theirs[place].state_dict())
        total += one(x)
    torch.testing.assert_close(both(x), total)
