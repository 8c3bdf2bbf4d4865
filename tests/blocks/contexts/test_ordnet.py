"""Omni-range dependencies: patches apart, and what each pixel received of all attention."""

from __future__ import annotations

import pytest
import torch

from blocks import attention
from blocks.contexts.ordnet import MiddleRange, ReweighedLongRange, attend_and_count


@pytest.mark.parametrize("most", [2**22, 1])
def test_in_portions_or_not_columns_of_the_matrix_are_summed(monkeypatch, most):
    monkeypatch.setattr(attention, "_MOST_LOGITS", most)  # 1: portions of 16 queries
    torch.manual_seed(0)
    inputs = [torch.randn(2, 37, width).requires_grad_() for width in (4, 4, 6)]
    query, key, value = inputs
    weights = (query @ key.transpose(1, 2)).softmax(dim=2)
    expected = (weights @ value, weights.sum(dim=1))
    given = attend_and_count(*inputs)
    for ours, theirs in zip(given, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    mixed = [(seen * received.unsqueeze(2)).square().sum() for seen, received in (given, expected)]
    for ours, theirs in zip(*(torch.autograd.grad(each, inputs) for each in mixed), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_pixels_that_receive_more_attention_count_more():
    torch.manual_seed(0)
    branch = ReweighedLongRange(6, keys=3)
    x = torch.randn(2, 6, 3, 5)
    query, key, value = (part.flatten(2) for part in branch.qkv(x).split((3, 3, 6), dim=1))
    weights = torch.einsum("nkl,nkm->nlm", query, key).softmax(dim=2)
    received = weights.sum(dim=1)
    torch.testing.assert_close(received.mean(dim=1), torch.ones(2))
    expected = torch.einsum("nlm,nvm,nl->nvl", weights, value, received).reshape(2, 6, 3, 5)
    torch.testing.assert_close(branch(x), expected)


def test_the_middle_range_ends_at_the_patch():
    torch.manual_seed(0)
    branch = MiddleRange(6, keys=3, patches=2)
    x = torch.randn(2, 6, 5, 3)
    query, key, value = branch.qkv(x).split((3, 3, 6), dim=1)
    expected = torch.zeros_like(x)
    for rows in (slice(0, 3), slice(3, 5)):
        for columns in (slice(0, 2), slice(2, 3)):
            q, k, v = (part[..., rows, columns].flatten(2) for part in (query, key, value))
            seen = torch.einsum("nlm,nvm->nvl", torch.einsum("nkl,nkm->nlm", q, k).softmax(dim=2), v)
            expected[..., rows, columns] = seen.reshape(expected[..., rows, columns].shape)
    torch.testing.assert_close(branch(x), expected)
