"""Attentional class features: centres of classes, and the mix of them at a pixel."""

from __future__ import annotations

import torch

from blocks.contexts.acf import ClassFeatures


def test_centres_are_weighed_by_probability_and_mixed_by_it():
    torch.manual_seed(0)
    block = ClassFeatures(6, 8).eval()
    x, coarse = torch.randn(2, 6, 3, 5), 3 * torch.randn(2, 4, 3, 5)
    given, reduced = block(x, coarse), block.reduce(x)
    for n in range(2):
        probability = coarse[n].softmax(dim=0)
        centres = [(p * reduced[n]).sum(dim=(1, 2)) / p.sum() for p in probability]
        mixed = sum(p * centre[:, None, None] for p, centre in zip(probability, centres, strict=True))
        torch.testing.assert_close(block.refine(mixed[None])[0], given[n])


def test_a_class_that_is_nearly_nowhere_makes_nothing_infinite():
    block = ClassFeatures(6, 8)
    coarse = torch.zeros(2, 3, 4, 4)
    coarse[:, 1] = -1e4
    x = torch.randn(2, 6, 4, 4, requires_grad=True)
    block(x, coarse.requires_grad_()).square().mean().backward()
    assert x.grad.isfinite().all()
    assert coarse.grad.isfinite().all()
