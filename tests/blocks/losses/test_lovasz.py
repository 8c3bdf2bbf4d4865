"""Lovasz-Softmax against the extension by its definition, and against IoU."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from blocks.losses import IGNORE, Lovasz

CLASSES = 4
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 4.0])


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels with ignored pixels; class 3 does not occur, class 2 only in the first image."""
    torch.manual_seed(0)
    labels = torch.randint(0, CLASSES - 1, (2, 5, 6))
    labels[1].clamp_(max=1)
    labels[torch.rand(2, 5, 6) < 0.2] = IGNORE
    return 2 * torch.randn(2, CLASSES, 5, 6, dtype=torch.double), labels


def jaccard(truth: set[int], mistakes: set[int]) -> float:
    """One minus IoU when exactly these pixels are mistaken, as a function of a set."""
    predicted = truth ^ mistakes
    return 1 - len(truth & predicted) / len(truth | predicted)


def extension(probability: list[float], truth: set[int]) -> float:
    """Piecewise linear in the errors: the largest first, each by what it adds to the loss of those before."""
    errors = [1 - p if i in truth else p for i, p in enumerate(probability)]
    total, mistakes, before = 0.0, set(), 0.0
    for i in sorted(range(len(errors)), key=lambda i: -errors[i]):
        mistakes.add(i)
        after = jaccard(truth, mistakes)
        total, before = total + errors[i] * (after - before), after
    return total


def expected(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> float:
    kept = labels != IGNORE
    probability, truth = logits.softmax(1).movedim(1, -1)[kept], labels[kept].tolist()
    losses, masses = [], []
    for k in sorted(set(truth)):
        losses.append(extension(probability[:, k].tolist(), {i for i, y in enumerate(truth) if y == k}))
        masses.append(1.0 if weights is None else weights[k].item())
    return sum(a * b for a, b in zip(losses, masses, strict=True)) / sum(masses)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_it_is_the_extension_over_the_batch(weights, batch):
    assert Lovasz(CLASSES, weights)(*batch).item() == pytest.approx(expected(*batch, weights), rel=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_per_image_it_is_the_mean_over_the_images(weights, batch):
    each = [expected(logits[None], labels[None], weights) for logits, labels in zip(*batch, strict=True)]
    got = Lovasz(CLASSES, weights, per_image=True)(*batch).item()
    assert got == pytest.approx(sum(each) / 2, rel=1e-6)
    assert got != pytest.approx(Lovasz(CLASSES, weights)(*batch).item(), rel=1e-4)


def test_per_image_one_without_a_label_does_not_count(batch):
    logits, labels = batch
    labels[1] = IGNORE
    assert Lovasz(CLASSES, per_image=True)(logits, labels) == Lovasz(CLASSES, per_image=True)(logits[:1], labels[:1])


def test_at_hard_predictions_it_is_one_minus_iou(batch):
    logits, labels = batch
    chosen = logits.argmax(1)
    kept = labels != IGNORE
    ious = []
    for k in labels[kept].unique():
        ours, theirs = (chosen == k) & kept, labels == k
        ious.append(((ours & theirs).sum() / (ours | theirs).sum()).item())
    hard = F.one_hot(chosen, CLASSES).movedim(-1, 1).double() * 1e3
    assert Lovasz(CLASSES)(hard, labels).item() == pytest.approx(1 - sum(ious) / len(ious), rel=1e-6)


def test_its_gradient_is_that_of_small_steps(batch):
    logits, labels = batch
    assert torch.autograd.gradcheck(lambda x: Lovasz(CLASSES)(x, labels), (logits.requires_grad_(),))


def test_what_a_mistake_adds_keeps_its_digits_on_large_images():
    """All false pixels behind one true one: the k-th adds 1 / (k + 1) - 1 / (k + 2) or so, far below 1e-7."""
    pixels = 200_000
    logits = torch.zeros(1, 2, 1, pixels)
    logits[0, 1, 0] = torch.linspace(1.0, -1.0, pixels)
    labels = torch.zeros(1, 1, pixels, dtype=torch.long)
    labels[0, 0, 0] = 1
    logits.requires_grad_()
    Lovasz(2, torch.tensor([0.0, 1.0]))(logits, labels).backward()
    p = logits.detach().double().softmax(1)[0, 1, 0]
    # The one true pixel has the smallest error; false ones add to the union, the intersection still standing.
    union = torch.arange(1, pixels, dtype=torch.double)
    slopes = (1 / (union * (union + 1)))[-10:]
    torch.testing.assert_close(logits.grad[0, 1, 0, -10:].double(), slopes * (p * (1 - p))[-10:], rtol=1e-4, atol=0)
