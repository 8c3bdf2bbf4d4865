"""Soft IoU against its formula, pixel by pixel, and against IoU."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from blocks.losses import IGNORE, Dice, SoftIou

CLASSES = 4
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 4.0])


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels with ignored pixels; class 3 does not occur."""
    torch.manual_seed(0)
    labels = torch.randint(0, CLASSES - 1, (2, 5, 6))
    labels[torch.rand(2, 5, 6) < 0.2] = IGNORE
    return 2 * torch.randn(2, CLASSES, 5, 6, dtype=torch.double), labels


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_it_averages_over_the_classes_that_occur(weights, batch):
    logits, labels = batch
    kept = labels != IGNORE
    probability, truth = logits.softmax(1).movedim(1, -1)[kept].tolist(), labels[kept].tolist()
    total = mass = 0.0
    for k in sorted(set(truth)):
        pairs = [(p[k], float(y == k)) for p, y in zip(probability, truth, strict=True)]
        iou = sum(p * y for p, y in pairs) / sum(p + y - p * y for p, y in pairs)
        weight = 1.0 if weights is None else weights[k].item()
        total, mass = total + weight * (1 - iou), mass + weight
    assert SoftIou(CLASSES, weights)(*batch).item() == pytest.approx(total / mass, rel=1e-6)


def test_at_hard_predictions_it_is_one_minus_iou(batch):
    logits, labels = batch
    chosen, kept = logits.argmax(1), labels != IGNORE
    ious = []
    for k in labels[kept].unique():
        ours, theirs = (chosen == k) & kept, labels == k
        ious.append(((ours & theirs).sum() / (ours | theirs).sum()).item())
    hard = F.one_hot(chosen, CLASSES).movedim(-1, 1).double() * 1e3
    assert SoftIou(CLASSES)(hard, labels).item() == pytest.approx(1 - sum(ious) / len(ious), rel=1e-6)


def test_of_one_class_it_says_what_dice_says_on_another_scale(batch):
    """IoU = D / (2 - D); of several classes the averages differ, which is why both exist."""
    alone = torch.tensor([0.0, 1.0, 0.0, 0.0])
    dice = 1 - Dice(CLASSES, alone, smooth=1e-6, exponent=1)(*batch).item()
    assert 1 - SoftIou(CLASSES, alone)(*batch).item() == pytest.approx(dice / (2 - dice), rel=1e-5)
