"""Losses against straightforward computations, pixel by pixel."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from blocks.errors import BlockError
from blocks.losses import IGNORE, LOSSES, CrossEntropy, Dice, Ohem

CLASSES = 4
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 4.0])


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels with ignored pixels; class 3 does not occur."""
    torch.manual_seed(0)
    labels = torch.randint(0, CLASSES - 1, (2, 7, 9))
    labels[torch.rand(2, 7, 9) < 0.2] = IGNORE
    return (2 * torch.randn(2, CLASSES, 7, 9)).requires_grad_(), labels


def pixels(logits, labels) -> list[tuple[list[float], int]]:
    """Probabilities and label of every labelled pixel."""
    probability = logits.detach().double().softmax(1).movedim(1, -1).reshape(-1, CLASSES).tolist()
    return [(p, y) for p, y in zip(probability, labels.flatten().tolist(), strict=True) if y != IGNORE]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_nothing_labelled_is_no_loss_and_no_gradient(name, weights):
    logits = torch.randn(2, CLASSES, 5, 5, requires_grad=True)
    loss = LOSSES[name](CLASSES, weights)(logits, torch.full((2, 5, 5), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_ignored_pixels_change_nothing(name, weights, batch):
    logits, labels = batch
    loss = LOSSES[name](CLASSES, weights)(logits, labels)
    loss.backward()
    noise = torch.where((labels == IGNORE)[:, None], torch.randn_like(logits) * 9, logits.detach())
    torch.testing.assert_close(LOSSES[name](CLASSES, weights)(noise, labels), loss.detach())
    assert logits.grad.isfinite().all()
    assert logits.grad.movedim(1, -1)[labels == IGNORE].abs().max() == 0


@pytest.mark.parametrize("name", LOSSES)
def test_weight_is_a_factor(name, batch):
    twice, once = LOSSES[name](CLASSES, weight=2.0)(*batch), LOSSES[name](CLASSES)(*batch)
    torch.testing.assert_close(twice, 2 * once)


@pytest.mark.parametrize("name", LOSSES)
def test_class_weights_must_number_the_classes(name):
    with pytest.raises(BlockError, match="one weight a class: got classes=4"):
        LOSSES[name](CLASSES, torch.ones(3))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_is_torch_s_mean(smoothing, weights, batch):
    expected = F.cross_entropy(*batch, weights, ignore_index=IGNORE, label_smoothing=smoothing)
    torch.testing.assert_close(CrossEntropy(CLASSES, weights, label_smoothing=smoothing)(*batch), expected)


@pytest.mark.parametrize(("threshold", "min_kept"), [(0.7, 0.0), (0.05, 0.5), (0.3, 0.25), (1.0, 0.1), (0.7, 1.0)])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_ohem_averages_over_the_hard_pixels(threshold, min_kept, weights, batch):
    true = sorted((p[y], y) for p, y in pixels(*batch))
    hard = [pair for pair in true if pair[0] < threshold]
    chosen = max(hard, true[: math.ceil(min_kept * len(true))], key=len)
    mass = [1.0 if weights is None else weights[y].item() for _, y in chosen]
    expected = sum(-math.log(p) * w for (p, _), w in zip(chosen, mass, strict=True)) / sum(mass)
    got = Ohem(CLASSES, weights, threshold=threshold, min_kept=min_kept)(*batch)
    assert got.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_ohem_of_all_pixels_smooths_as_torch_does(weights, batch):
    expected = F.cross_entropy(*batch, weights, ignore_index=IGNORE, label_smoothing=0.1)
    torch.testing.assert_close(Ohem(CLASSES, weights, threshold=1.0, label_smoothing=0.1)(*batch), expected)


def test_smoothing_changes_no_choice_of_ohem(batch):
    """A pixel that is not hard gets no gradient, smoothed or not."""
    logits, labels = batch
    moved = []
    for smoothing in (0.0, 0.1):
        loss = Ohem(CLASSES, threshold=0.3, label_smoothing=smoothing)(logits, labels)
        (gradient,) = torch.autograd.grad(loss, logits)
        moved.append(gradient.abs().amax(1) > 0)
    assert torch.equal(*moved)
    assert 0 < moved[0].sum() < (labels != IGNORE).sum()


def test_ohem_without_hard_pixels_and_without_a_least_share_is_zero():
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    logits = F.one_hot(labels, CLASSES).movedim(-1, 1).float() * 5
    assert Ohem(CLASSES, min_kept=0.0)(logits, labels).item() == 0
    assert Ohem(CLASSES, min_kept=0.1)(logits, labels).item() > 0


@pytest.mark.parametrize("exponent", [1, 2])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_dice_averages_over_the_classes_that_occur(exponent, weights, batch):
    found = pixels(*batch)
    losses, masses = [], []
    for k in sorted({y for _, y in found}):
        overlap = sum(p[k] for p, y in found if y == k)
        size = sum(y == k for _, y in found)
        losses.append(1 - (2 * overlap + 1) / (sum(p[k] ** exponent for p, _ in found) + size + 1))
        masses.append(1.0 if weights is None else weights[k].item())
    expected = sum(a * b for a, b in zip(losses, masses, strict=True)) / sum(masses)
    assert len(losses) == CLASSES - 1
    assert Dice(CLASSES, weights, exponent=exponent)(*batch).item() == pytest.approx(expected, rel=1e-5)


def test_dice_of_a_perfect_prediction_is_zero():
    labels = torch.randint(0, CLASSES, (1, 8, 8))
    logits = F.one_hot(labels, CLASSES).movedim(-1, 1).float() * 50
    assert Dice(CLASSES)(logits, labels).item() == pytest.approx(0, abs=1e-6)
