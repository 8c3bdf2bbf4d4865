"""Hamburger: the factorisation against loops, and what it draws when."""

from __future__ import annotations

import pytest
import torch

from blocks.contexts.ham import FactorisedContext, Hamburger, LowRank, factorised
from blocks.features import FeatureMap


def drawn(*size: int) -> torch.Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def updated(x: torch.Tensor, bases: torch.Tensor, steps: int) -> torch.Tensor:
    """Lee and Seung's updates of one matrix, entry by entry."""
    channels, pixels, rank = *x.shape, bases.shape[1]
    shares = torch.stack([torch.softmax(x[:, p] @ bases, dim=0) for p in range(pixels)], dim=1)

    def fit(bases: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        product = bases @ shares
        new = torch.empty_like(shares)
        for r in range(rank):
            for p in range(pixels):
                new[r, p] = shares[r, p] * (bases[:, r] @ x[:, p]) / (bases[:, r] @ product[:, p] + 1e-6)
        return new

    for _ in range(steps):
        shares = fit(bases, shares)
        product, new = bases @ shares, torch.empty_like(bases)
        for c in range(channels):
            for r in range(rank):
                new[c, r] = bases[c, r] * (x[c] @ shares[r]) / (product[c] @ shares[r] + 1e-6)
        bases = new
    return bases @ fit(bases, shares)


def test_the_factorisation_is_that_of_the_updates_entry_by_entry():
    x, bases = drawn(2, 5, 7), drawn(2, 5, 3)
    expected = torch.stack([updated(x[n], bases[n], steps=3) for n in range(2)])
    torch.testing.assert_close(factorised(x, bases, 3), expected)


def test_more_steps_come_nearer_to_the_map():
    x, bases = drawn(1, 16, 50), drawn(1, 16, 4)
    errors = [(factorised(x, bases, steps) - x).norm().item() for steps in range(8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.9 * errors[0]


def test_a_map_of_low_rank_is_found_again():
    x = drawn(1, 12, 2) @ drawn(1, 2, 40)
    found = factorised(x, drawn(1, 12, 4), 200)
    assert (found - x).norm() < 0.01 * x.norm()


def test_training_draws_bases_and_evaluation_keeps_them():
    low_rank, x = LowRank(8, 4), drawn(3, 8, 5, 6).float()
    first, second = low_rank(x), low_rank(x)
    assert not torch.equal(first, second)
    low_rank.eval()
    torch.testing.assert_close(low_rank(x), low_rank(x), rtol=0, atol=0)
    again = LowRank(8, 4).eval()
    again.load_state_dict(low_rank.state_dict())
    torch.testing.assert_close(again(x), low_rank(x), rtol=0, atol=0)


def test_evaluation_takes_one_step_more():
    low_rank, x = LowRank(8, 4, steps=2).eval(), drawn(1, 8, 5, 6).float()
    expected = factorised(x.flatten(2), low_rank.bases, 3).reshape(x.shape)
    torch.testing.assert_close(low_rank(x), expected)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_its_size_is_that_of_segnexts_head(norm):
    """Three 1x1 convolutions and their normalisations, and one with a bias before the factorisation."""
    squeeze, width = 64 + 160 + 256, 256
    block = width * width + width + width * width + 2 * width
    assert sum(p.numel() for p in Hamburger(width, 16, norm=norm).parameters()) == block
    context = FactorisedContext(FeatureMap(squeeze, 8), channels=width, rank=16, norm=norm)
    whole = squeeze * width + 2 * width + block + width * width + 2 * width
    assert sum(p.numel() for p in context.parameters()) == whole
