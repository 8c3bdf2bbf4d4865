"""Attention: portions give what the whole matrix gives, in less memory; what cuts a map apart puts it together."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from blocks import attention
from blocks.attention import as_map, attend, cells, cropped, interleaved, joined, padded, phases, tokens


def operands(length: int, keys: int, width: int, value: int):
    torch.manual_seed(0)
    shapes = ((2, length, width), (2, keys, width), (2, keys, value))
    return tuple(torch.randn(shape, requires_grad=True) for shape in shapes)


@pytest.mark.parametrize("value", [4, 6], ids=["one-width", "two-widths"])
@pytest.mark.parametrize("most", [2**22, 1000], ids=["at-once", "in-portions"])
def test_it_is_the_softmax_average(monkeypatch, most, value):
    monkeypatch.setattr(attention, "_MOST_LOGITS", most)
    query, key, taken = operands(100, 70, 4, value)
    expected = (query @ key.transpose(1, 2) * 0.3).softmax(dim=-1) @ taken
    given = attend(query, key, taken, scale=0.3)
    torch.testing.assert_close(given, expected)
    gradients = (torch.autograd.grad(each.square().sum(), (query, key, taken)) for each in (given, expected))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("lead", [(2,), (2, 3), (2, 3, 2)])
def test_it_takes_any_leading_dimensions(lead):
    torch.manual_seed(0)
    query, key, taken = (torch.randn(*lead, length, 4) for length in (5, 7, 7))
    bias = torch.randn(lead[-1] if len(lead) > 1 else 1, 5, 7)
    expected = (query @ key.transpose(-1, -2) * 0.3 + bias).softmax(dim=-1) @ taken
    torch.testing.assert_close(attend(query, key, taken, scale=0.3, bias=bias), expected)


def test_a_bias_shuts_keys_out():
    query, key, taken = operands(5, 7, 4, 6)
    bias = torch.zeros(5, 7)
    bias[:, 3:] = -torch.inf
    torch.testing.assert_close(
        attend(query, key, taken, scale=1.0, bias=bias), attend(query, key[:, :3], taken[:, :3], scale=1.0)
    )


@pytest.mark.parametrize("value", [4, 6], ids=["one-width", "two-widths"])
def test_the_matrix_is_not_kept_for_the_gradient(value):
    query, key, taken = operands(4096, 4096, 4, value)
    # As pixels come from a map: a column of channels each.
    query, key, taken = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (query, key, taken))
    kept = 0

    def keep(saved: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += saved.numel()
        return saved

    with saved_tensors_hooks(keep, lambda saved: saved):
        attend(query, key, taken, scale=1.0)
    assert kept < 0.1 * len(query) * 4096 * 4096


def test_tokens_and_maps_are_two_views_of_one_thing():
    x = torch.randn(2, 3, 5, 7)
    assert torch.equal(tokens(x)[1, 2 * 7 + 4], x[1, :, 2, 4])
    assert torch.equal(as_map(tokens(x), (5, 7)), x)


def test_cells_are_contiguous_and_phases_are_spread():
    x = torch.arange(2 * 3 * 6 * 8.0).reshape(2, 3, 6, 8)
    assert torch.equal(cells(x, (2, 4))[5], x[0, :, 3:, 2:4])
    assert torch.equal(phases(x, (2, 4))[5], x[0, :, 1::2, 1::4])
    assert torch.equal(joined(cells(x, (2, 4)), (2, 4)), x)
    assert torch.equal(interleaved(phases(x, (2, 4)), (2, 4)), x)


@pytest.mark.parametrize("centred", [False, True])
def test_padding_comes_off_again(centred):
    x = torch.ones(1, 2, 5, 7)
    wide = padded(x, (4, 8), centred=centred)
    assert wide.shape == (1, 2, 8, 8)
    assert wide.sum() == x.sum()
    assert wide[0, 0, 0].any() != centred
    assert torch.equal(cropped(wide, (5, 7), centred=centred), x)
    assert padded(wide, (4, 8)) is wide


def test_portions_keep_the_type_under_autocast(monkeypatch):
    monkeypatch.setattr(attention, "_MOST_LOGITS", 1000)
    query, key, taken = (x.bfloat16().detach().requires_grad_() for x in operands(100, 70, 4, 6))
    with torch.autocast("cpu", torch.bfloat16):
        given = attend(query, key, taken, scale=0.3)
    given.float().square().sum().backward()
    expected = (query.float() @ key.float().transpose(1, 2) * 0.3).softmax(dim=-1) @ taken.float()
    assert given.dtype == torch.bfloat16
    torch.testing.assert_close(given.float(), expected, rtol=0.02, atol=0.02)
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (query, key, taken))
