"""The boundary loss against its formula in loops, and by what it tells apart."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from blocks.errors import BlockError
from blocks.losses import IGNORE, Boundary

CLASSES = 3
WEIGHTS = torch.tensor([0.5, 1.0, 2.0])


def square(top: int, left: int, side: int = 6, image: int = 20) -> torch.Tensor:
    """One image of class 0 with a square of class 1."""
    labels = torch.zeros(1, image, image, dtype=torch.long)
    labels[0, top : top + side, left : left + side] = 1
    return labels


def certain(labels: torch.Tensor) -> torch.Tensor:
    return F.one_hot(labels, CLASSES).movedim(-1, 1).double() * 1e3


def windowed(field: list[list[float]], side: int) -> list[list[float]]:
    """Maximum of each pixel's window, as far as it is inside the image."""
    height, width, reach = len(field), len(field[0]), side // 2
    return [
        [
            max(
                field[i][j]
                for i in range(max(0, y - reach), min(height, y + reach + 1))
                for j in range(max(0, x - reach), min(width, x + reach + 1))
            )
            for x in range(width)
        ]
        for y in range(height)
    ]


def rim(region: list[list[float]], kept: list[list[bool]], side: int) -> list[list[float]]:
    outside = [[(1 - v) * k for v, k in zip(*rows, strict=True)] for rows in zip(region, kept, strict=True)]
    largest = windowed(outside, side)
    return [[(a - b) * k for a, b, k in zip(*rows, strict=True)] for rows in zip(largest, outside, kept, strict=True)]


def score(predicted, true, theta: int, smooth: float) -> float:
    def share(part, near):
        together = sum(
            a * b for rows in zip(part, windowed(near, theta), strict=True) for a, b in zip(*rows, strict=True)
        )
        return (together + smooth) / (sum(map(sum, part)) + smooth)

    precision, recall = share(predicted, true), share(true, predicted)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(("theta0", "theta", "smooth"), [(3, 5, 1.0), (5, 3, 0.1), (3, 9, 1e-6)])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_it_averages_over_the_boundaries_that_are(theta0, theta, smooth, weights):
    torch.manual_seed(0)
    labels = torch.cat([square(2, 3, 4, 9), square(4, 4, 4, 9)])
    labels[1, :2] = 2
    labels[:, 5, 2:7] = IGNORE
    labels[0, :, 8] = IGNORE
    logits = torch.randn(2, CLASSES, 9, 9, dtype=torch.double)
    total = mass = 0.0
    for image, truth in zip(logits.softmax(1), labels, strict=True):
        kept = (truth != IGNORE).tolist()
        for k in range(CLASSES):
            true = rim((truth == k).double().tolist(), kept, theta0)
            if any(map(any, true)):
                weight = 1.0 if weights is None else weights[k].item()
                f1 = score(rim(image[k].tolist(), kept, theta0), true, theta, smooth)
                total, mass = total + weight * (1 - f1), mass + weight
    got = Boundary(CLASSES, weights, theta0=theta0, theta=theta, smooth=smooth)(logits, labels)
    assert got.item() == pytest.approx(total / mass, rel=1e-6)


def test_it_is_zero_within_reach_and_grows_with_the_distance_beyond():
    labels = square(7, 7)
    losses = [Boundary(CLASSES, theta=5)(certain(square(7, 7 + shift)), labels).item() for shift in range(6)]
    assert losses[:3] == pytest.approx([0, 0, 0], abs=1e-6), "two pixels aside are near"
    assert losses[2] < losses[3] < losses[4] < losses[5]


def test_an_image_of_one_class_has_no_boundary():
    logits = torch.randn(1, CLASSES, 8, 8, requires_grad=True)
    value = Boundary(CLASSES)(logits, torch.ones(1, 8, 8, dtype=torch.long))
    value.backward()
    assert value == 0
    assert not logits.grad.any()


def test_ignored_pixels_make_no_boundary():
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[0, 3:5] = IGNORE
    assert Boundary(CLASSES)(torch.randn(1, CLASSES, 8, 8), labels) == 0


def test_a_flat_prediction_learns_in_steps_of_bounded_size():
    logits = torch.zeros(1, CLASSES, 20, 20, requires_grad=True)
    Boundary(CLASSES)(logits, square(7, 7)).backward()
    assert 0 < logits.grad.abs().max() < 1


@pytest.mark.parametrize("name", ["theta0", "theta"])
def test_a_window_has_a_middle(name):
    with pytest.raises(BlockError, match=f"an odd {name}: got {name}=4. Use 3 or 5."):
        Boundary(CLASSES, **{name: 4})
