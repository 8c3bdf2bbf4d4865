"""Prototypes: what a cosine to the nearest says, pixel by pixel."""

from __future__ import annotations

import pytest
import torch

from blocks.features import FeatureMap, Features, Shapes
from blocks.heads.prototype import NearestPrototype, Prototype


def test_the_nearest_prototype_of_each_class_is_scored_by_its_cosine():
    torch.manual_seed(0)
    classifier = NearestPrototype(6, 3, count=4, temperature=0.2)
    x = 5 * torch.randn(2, 6, 3, 5)
    given, prototypes = classifier(x).detach(), classifier.prototypes.detach()
    for n in range(2):
        for row in range(3):
            for column in range(5):
                pixel = x[n, :, row, column]
                for name, looks in enumerate(prototypes):
                    best = max(float(pixel @ look / (pixel.norm() * look.norm())) for look in looks)
                    assert float(given[n, name, row, column]) == pytest.approx(best / 0.2, abs=1e-5)


def test_only_directions_count():
    torch.manual_seed(0)
    classifier = NearestPrototype(6, 3)
    x = torch.randn(1, 6, 3, 5)
    given = classifier(x)
    with torch.no_grad():
        classifier.prototypes.mul_(7.0)
    torch.testing.assert_close(classifier(0.01 * x), given)


def test_the_best_look_of_a_class_alone_is_taught():
    torch.manual_seed(0)
    classifier = NearestPrototype(6, 2, count=3)
    x = torch.randn(1, 6, 1, 1)
    classifier(x)[0, 1].sum().backward()
    taught = classifier.prototypes.grad.abs().sum(dim=2) > 0
    nearest = torch.cosine_similarity(classifier.prototypes[1], x.flatten(), dim=1).argmax()
    assert taught.nonzero().tolist() == [[1, int(nearest)]]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_map_of_zeros_is_like_nothing_and_teaches_no_nan(precision):
    torch.manual_seed(0)
    head = Prototype(Shapes((8, 8), 3, map=FeatureMap(4, 4)), channels=8).train()
    torch.nn.init.zeros_(head.project[1].bias)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        logits = head(Features(torch.zeros(1, 3, 8, 8), map=torch.zeros(1, 4, 2, 2))).logits
    logits.sum().backward()
    assert not logits.any()
    assert all(p.grad.isfinite().all() for p in head.parameters())
