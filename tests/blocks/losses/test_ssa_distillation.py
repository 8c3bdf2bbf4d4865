"""SSA-Seg's teacher and the distillation from it, against loops over pixels and classes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from blocks.architecture import Architecture, Component
from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes
from blocks.heads.ssa import AdaptiveHead
from blocks.losses import IGNORE, SpatialSemanticDistillation
from blocks.losses.ssa_distillation import (
    GuidedClassifier,
    edges,
    place_loss,
    relation_loss,
    response_loss,
)
from blocks.network import Network, Supervised

CLASSES = 4
SOURCE = Shapes(size=(64, 64), classes=CLASSES, map=FeatureMap(6, 4))


@pytest.fixture
def labels() -> Tensor:
    """Two images of 16x16: class 3 occurs nowhere, class 2 in the second alone, some pixels are unlabelled."""
    torch.manual_seed(0)
    labels = torch.randint(0, 2, (2, 4, 4)).repeat_interleave(4, 1).repeat_interleave(4, 2).roll((1, 1), (1, 2))
    labels[1, 5:9, 4:8] = 2
    labels[:, :, 13:15] = IGNORE
    return labels


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(v) for v in values]
    return [p / sum(powers) for p in powers]


def cosine(a: Tensor, b: Tensor) -> float:
    return F.cosine_similarity(a, b, dim=0).item()


def test_the_teacher_takes_its_centres_from_where_the_classes_are(labels):
    torch.manual_seed(1)
    teacher, (x, position) = GuidedClassifier(6), torch.randn(2, 2, 6, 16, 16)
    classes, places = torch.randn(2, CLASSES, 6)
    taught = teacher(x, position, labels, classes, places)
    pixels = [(n, i, j) for n in range(2) for i in range(16) for j in range(16)]
    for n in range(2):
        for k in range(CLASSES):
            its = [p for p in pixels if labels[p] == k]
            here = [p for p in its if p[0] == n]
            looks = torch.stack([x[p[0], :, p[1], p[2]] for p in its]).mean(0) if its else classes[k]
            where = torch.stack([position[p[0], :, p[1], p[2]] for p in here]).mean(0) if here else places[k]
            semantic = teacher.semantic(torch.cat((looks, classes[k])))
            spatial = teacher.spatial(torch.cat((where, places[k])))
            torch.testing.assert_close(taught.semantic[0, k], semantic)
            torch.testing.assert_close(taught.spatial[n, k], spatial)
            centre = teacher.centre(semantic + spatial)
            for i, j in ((0, 0), (7, 9), (15, 15)):
                expected = 15 * cosine(x[n, :, i, j] + position[n, :, i, j], centre)
                assert taught.logits[n, k, i, j].item() == pytest.approx(expected, abs=1e-4)


def test_learned_centres_are_learned_where_the_teacher_takes_them_as_they_are(labels):
    torch.manual_seed(1)
    teacher, x = GuidedClassifier(6), torch.randn(2, 6, 16, 16)
    classes = torch.randn(CLASSES, 6, requires_grad=True)
    # With the half that holds the learned centre taken out of it, the mean of an absent class teaches nothing.
    with torch.no_grad():
        teacher.semantic[0].weight[:, 6:] = 0
    teacher(x, x, labels, classes, torch.randn(CLASSES, 6)).logits.sum().backward()
    assert not classes.grad.any()


def test_edges_are_a_band_three_wide_away_from_the_border():
    labels = torch.zeros(1, 20, 20, dtype=torch.long)
    labels[:, :, 10:] = 7
    found = edges(labels)[0].nonzero()
    # What lies within 6 px of the border is no edge, but the widening reaches one pixel into it.
    assert sorted(set(found[:, 1].tolist())) == [8, 9, 10]
    assert (found[:, 0].min(), found[:, 0].max()) == (5, 14)
    assert torch.equal(edges(labels.transpose(1, 2)), edges(labels).transpose(1, 2))


@pytest.mark.parametrize("size", [(1, 1), (3, 12), (12, 30), (1, 40)])
def test_maps_that_are_all_border_have_no_edges(size):
    assert not edges(torch.randint(0, 3, (2, *size))).any()


def test_the_response_is_learned_by_class_and_edge_weighted_by_entropy(labels):
    torch.manual_seed(2)
    logits, taught = 3 * torch.randn(2, 2, CLASSES, 16, 16)
    band, losses = edges(labels), []
    assert 0 < band.sum() < band.numel()
    for k in range(3):
        halves = []
        for edge in (True, False):
            total = mass = 0.0
            for n, i, j in ((labels == k) & (band == edge)).nonzero().tolist():
                p, q = softmax(logits[n, :, i, j].tolist()), softmax(taught[n, :, i, j].tolist())
                target = [(t + (c == k)) / 2 for c, t in enumerate(q)]
                entropy = -sum(t * math.log(t) for t in q)
                total += entropy * -sum(t * math.log(s) for s, t in zip(p, target, strict=True))
                mass += entropy
            halves.append(total / mass if mass else 0.0)
        losses.append(sum(halves) / 2)
    assert response_loss(logits, taught, labels).item() == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_relations_cost_where_centres_are_closer_than_the_teacher_s():
    torch.manual_seed(3)
    centres, taught = torch.randn(2, 2, CLASSES, 6)
    total = 0.0
    for n in range(2):
        for i in range(CLASSES):
            shares, aims = (softmax([15 * cosine(of[n, i], other) for other in of[n]]) for of in (centres, taught))
            total += sum(max(0.0, s - a) for j, (s, a) in enumerate(zip(shares, aims, strict=True)) if j != i)
    assert relation_loss(centres, taught).item() == pytest.approx(total / (2 * CLASSES), rel=1e-4)


def test_spatial_centres_are_learned_as_distributions():
    torch.manual_seed(4)
    centres, taught = torch.randn(2, 2, CLASSES, 6)
    total = 0.0
    for n in range(2):
        for k in range(CLASSES):
            shares, aims = softmax(centres[n, k].tolist()), softmax(taught[n, k].tolist())
            total -= sum(a * math.log(s) for s, a in zip(shares, aims, strict=True))
    assert place_loss(centres, taught).item() == pytest.approx(total / (2 * CLASSES), rel=1e-5)


def headed(seed: int = 0) -> tuple[AdaptiveHead, Features]:
    torch.manual_seed(seed)
    head = AdaptiveHead(SOURCE, dropout=0.0)
    x = torch.randn(2, 6, 16, 16, requires_grad=True)
    return head, head(Features(torch.zeros(2, 3, 64, 64), map=x))


def loss_on(head: AdaptiveHead, **factors: float) -> SpatialSemanticDistillation:
    torch.manual_seed(5)
    return SpatialSemanticDistillation(head.out, **factors)


def test_the_terms_add_up(labels):
    head, f = headed()
    whole = labels.repeat_interleave(4, 1).repeat_interleave(4, 2)
    loss = loss_on(head, weight=0.5, teacher=2.0, dice=0.7, response=0.3, semantic=3.0, spatial=0.2)
    names = ("ssa_classes", "ssa_places")
    taught = loss.teacher(f.map, f.taps["ssa_position"], labels, *(f.vectors[name] for name in names))
    logits = F.interpolate(taught.logits, (64, 64), mode="bilinear", align_corners=False)
    expected = 2 * F.cross_entropy(logits, whole, ignore_index=IGNORE) + loss.dice(logits, whole)
    expected += 0.3 * response_loss(f.logits, taught.logits, labels)
    expected += 3 * relation_loss(f.vectors["ssa_semantic"], taught.semantic)
    expected += 0.2 * place_loss(f.vectors["ssa_spatial"], taught.spatial)
    torch.testing.assert_close(loss(f, whole), expected / 2)


@pytest.mark.parametrize("term", ["response", "semantic", "spatial"])
def test_the_teacher_does_not_learn_from_its_pupil(term, labels):
    head, f = headed()
    off = {"response": 0.0, "semantic": 0.0, "spatial": 0.0}
    gradients, values = [], []
    for factors in (off, off | {term: 5.0}):
        loss = loss_on(head, **factors)
        value = loss(f, labels)
        values.append(value.item())
        gradients.append(torch.autograd.grad(value, list(loss.teacher.parameters()), retain_graph=True))
    assert values[1] > values[0]
    for without, distilled in zip(*gradients, strict=True):
        torch.testing.assert_close(without, distilled)


def test_it_reaches_every_parameter_of_head_and_teacher(labels):
    head, f = headed()
    loss = loss_on(head)
    (loss(f, labels) + f.coarse[0].square().mean()).backward()
    for name, parameter in (*head.named_parameters(), *loss.named_parameters()):
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    assert f.map.grad.any()


def test_maps_in_half_precision_are_judged_in_full(labels):
    head, f = headed()
    loss = loss_on(head)
    position = f.taps["ssa_position"].bfloat16()
    rough = f._replace(map=f.map.bfloat16(), logits=f.logits.bfloat16(), taps={"ssa_position": position})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(rough, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(f, labels), rtol=0.02, atol=0)


@pytest.mark.parametrize("size", [(1, 1), (3, 5)])
def test_the_smallest_maps_serve(size):
    torch.manual_seed(0)
    head = AdaptiveHead(SOURCE)
    f = head(Features(torch.zeros(1, 3, 9, 9), map=torch.randn(1, 6, *size, requires_grad=True)))
    loss_on(head)(f, torch.zeros(1, 9, 9, dtype=torch.long)).backward()
    assert f.map.grad.isfinite().all()


def test_another_head_is_refused_by_name():
    network = Network(Architecture(backbone=Component("stdc1")), size=(64, 64), classes=3)
    with pytest.raises(BlockError, match="the head ssa: got"):
        Supervised(network, auxiliary=(Component("ssa_distillation"),))
