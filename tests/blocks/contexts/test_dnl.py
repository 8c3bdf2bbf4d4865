"""The disentangled non-local block: which term is scaled by what."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blocks.contexts.dnl import DisentangledBlock


def awake(block: DisentangledBlock) -> DisentangledBlock:
    """A block in eval mode whose pairwise term and projection no longer give zeros."""
    nn.init.constant_(block.gamma if block.variant == "authors" else block.project[1].weight, 0.7)
    return block.eval()


def centred(x: torch.Tensor) -> torch.Tensor:
    return x - sum(x[..., i] for i in range(x.shape[-1])).unsqueeze(-1) / x.shape[-1]


@pytest.mark.parametrize("unary", [True, False])
@pytest.mark.parametrize("whitening", [True, False])
@pytest.mark.parametrize("variant", ["authors", "mmseg"])
def test_it_is_the_sum_over_all_pairs_and_over_the_mask(variant, whitening, unary):
    torch.manual_seed(0)
    options = {"whitening": whitening, "unary": unary, "variant": variant, "temperature": 0.1}
    block, x = awake(DisentangledBlock(8, 4, **options)), torch.randn(2, 8, 5, 3)
    query, key, value = (layer(x).flatten(2) for layer in (block.query, block.key, block.value))
    if whitening:
        query, key = centred(query), centred(key)
    logits = torch.einsum("nki,nkj->nij", query, key) / 4**0.5 / 0.1
    pairwise = torch.einsum("nij,ncj->nci", logits.softmax(dim=2), value)
    shared = torch.zeros(2, len(value[0]), 1)
    if unary:
        shared = torch.einsum("nj,ncj->nc", block.mask(x).flatten(1).softmax(dim=1), value).unsqueeze(2)
    if variant == "authors":
        expected = x + (0.7 * pairwise + shared).reshape(x.shape)
    else:
        expected = x + block.project((pairwise + shared).reshape(2, 4, 5, 3))
    torch.testing.assert_close(block(x), expected)


def test_at_first_the_authors_block_adds_the_unary_term_alone_and_mmsegs_nothing():
    torch.manual_seed(0)
    x = torch.randn(2, 8, 5, 3)
    added = DisentangledBlock(8, 4).eval()(x) - x
    assert added.abs().max() > 0.01
    torch.testing.assert_close(added, added[..., :1, :1].expand_as(added))
    assert torch.equal(DisentangledBlock(8, 4, variant="mmseg").eval()(x), x)


def test_whitening_takes_out_what_all_queries_share():
    torch.manual_seed(0)
    x = torch.randn(1, 8, 5, 3)
    for whitening in (True, False):
        block = awake(DisentangledBlock(8, 4, whitening=whitening))
        before = block(x)
        nn.init.constant_(block.query.bias, 5.0)
        assert torch.allclose(block(x), before, atol=1e-4) == whitening
