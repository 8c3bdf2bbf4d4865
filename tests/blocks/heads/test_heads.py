"""Heads: what they need, and what adapts to the image."""

from __future__ import annotations

import pytest
import torch

from blocks.cost import cost_of_module
from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes
from blocks.heads import HEADS
from blocks.heads.ssa import AdaptiveClassifier, AdaptiveHead


@pytest.mark.parametrize("name", HEADS)
def test_a_head_without_an_align_says_so(name):
    with pytest.raises(BlockError, match="an align"):
        HEADS[name](Shapes(size=(32, 32), classes=3, pyramid=(FeatureMap(8, 4),)))


def test_adapted_logits_are_scaled_cosines():
    torch.manual_seed(0)
    logits, coarse = AdaptiveClassifier(16, 4)(100 * torch.randn(2, 16, 6, 5))
    assert logits.abs().max() <= 15.0 + 1e-4
    assert coarse.abs().max() > 15.0


def test_one_pixel_is_judged_by_the_rest_of_its_image():
    torch.manual_seed(0)
    classifier = AdaptiveClassifier(16, 4).eval()
    x = torch.randn(1, 16, 8, 8)
    other = x.clone()
    other[..., 4:, 4:] = torch.randn(16, 4, 4)
    (logits, coarse), (others, others_coarse) = classifier(x), classifier(other)
    assert torch.equal(coarse[..., 0, 0], others_coarse[..., 0, 0])
    assert not torch.allclose(logits[..., 0, 0], others[..., 0, 0])


def test_what_a_loss_reads_of_the_adaptive_head_is_as_declared_and_costs_nothing():
    source = Shapes(size=(32, 40), classes=3, map=FeatureMap(16, 4))
    head, f = AdaptiveHead(source), Features(torch.randn(2, 3, 32, 40), map=torch.randn(2, 16, 8, 10))
    given = head(f)
    assert {name: x.shape[1] for name, x in given.taps.items()} == {n: m.channels for n, m in head.out.taps.items()}
    assert {name: x.shape[-2:] for name, x in given.vectors.items()} == head.out.vectors
    assert cost_of_module(head, f) == cost_of_module(head.classifier, f.map)
