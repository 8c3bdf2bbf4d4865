"""Detail guidance: the outline against loops, the loss against its formula, and what counts."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from blocks.architecture import Architecture, Component
from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes
from blocks.losses import IGNORE, DetailGuidance
from blocks.losses.detail import outline
from blocks.network import Network, Supervised

SHAPES = Shapes((12, 16), 3, pyramid=(FeatureMap(6, 4),), taps={"detail": FeatureMap(5, 8)})


def features() -> Features:
    torch.manual_seed(0)
    return Features(torch.rand(2, 3, 12, 16), (torch.randn(2, 6, 3, 4),), taps={"detail": torch.randn(2, 5, 2, 2)})


def regions(height: int = 11, width: int = 14) -> torch.Tensor:
    """Two label maps of rectangles, margins included, with some that are not known."""
    labels = torch.zeros(2, height, width, dtype=torch.long)
    labels[0, 2:7, 3:9] = 4
    labels[0, 5:, 8:] = 2
    labels[1, :, :6] = 7
    labels[1, 4:8, 4:12] = IGNORE
    labels[0, 1, 1] = IGNORE
    return labels


def reference(labels: list[list[int]], threshold: float, *, leave_out: bool) -> list[list[float]]:
    """The outline of one label map, pixel by pixel; a pixel outside the image counts as id 0."""
    height, width = len(labels), len(labels[0])

    def edge(y: int, x: int) -> bool:
        total = 0
        for i in range(y - 1, y + 2):
            for j in range(x - 1, x + 2):
                inside = 0 <= i < height and 0 <= j < width
                other = labels[i][j] if inside else 0
                if not (leave_out and IGNORE in {other, labels[y][x]}):
                    total += labels[y][x] - other
        return total > 0.1

    def nearest(place: int, length: int, stride: int) -> int:
        return place * math.ceil(length / stride) // length * stride

    found = []
    for y in range(height):
        fused = [
            sum(
                share
                for stride, share in ((1, 6), (2, 3), (4, 1))
                if edge(nearest(y, height, stride), nearest(x, width, stride))
            )
            for x in range(width)
        ]
        found.append([float(each > 10 * threshold) for each in fused])
    return found


@pytest.mark.parametrize("size", [(11, 14), (8, 8), (9, 13)])
@pytest.mark.parametrize("threshold", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("leave_out", [False, True])
def test_the_outline_is_where_laplacians_are_positive(size, threshold, leave_out):
    labels = regions(*size)
    expected = [reference(each, threshold, leave_out=leave_out) for each in labels.tolist()]
    got = outline(labels, threshold=threshold, ignored=labels == IGNORE if leave_out else None)
    assert got.tolist() == expected
    assert 0 < got.mean() < 1


def test_the_outline_is_that_of_a_convolution():
    labels = regions(16, 24)
    kernel = torch.tensor([-1.0, -1, -1, -1, 8, -1, -1, -1, -1]).view(1, 1, 3, 3)
    edges = [F.conv2d(labels.float().unsqueeze(1), kernel, stride=stride, padding=1) > 0.1 for stride in (1, 2, 4)]
    a, b, c = (F.interpolate(each.float(), (16, 24)) for each in edges)
    expected = (0.6 * a + 0.3 * b + 0.1 * c > 0.1).float().squeeze(1)
    torch.testing.assert_close(outline(labels), expected, rtol=0, atol=0)


@pytest.mark.parametrize("unlabelled", ["outlined", "left_out"])
def test_it_is_cross_entropy_and_dice(unlabelled):
    guide = DetailGuidance(SHAPES, unlabelled=unlabelled, weight=2.0).eval()
    labels = regions(12, 16)
    kept = (labels != IGNORE) | (unlabelled == "outlined")
    target = outline(labels, ignored=None if unlabelled == "outlined" else labels == IGNORE)
    logits = F.interpolate(guide.head(features().taps["detail"]), (12, 16), mode="bilinear").squeeze(1)
    entropy = F.binary_cross_entropy_with_logits(logits[kept], target[kept])
    dices = []
    for each, truth, mask in zip(logits.sigmoid(), target, kept, strict=True):
        p, t = each[mask], truth[mask]
        dices.append(1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    torch.testing.assert_close(guide(features(), labels), 2 * (entropy + sum(dices) / 2))


@pytest.mark.parametrize("unlabelled", ["outlined", "left_out"])
def test_an_image_without_a_label_does_not_count(unlabelled):
    guide = DetailGuidance(SHAPES, unlabelled=unlabelled).eval()
    labels, f = regions(12, 16), features()
    labels[1] = IGNORE
    alone = f._replace(taps={"detail": f.taps["detail"][:1]})
    torch.testing.assert_close(guide(f, labels), guide(alone, labels[:1]))


def test_left_out_pixels_teach_nothing():
    labels = regions(12, 16)
    f = features()._replace(pyramid=(torch.randn(2, 6, 12, 16, requires_grad=True),))
    guide = DetailGuidance(SHAPES, at="level_1", unlabelled="left_out")
    guide.head = torch.nn.Conv2d(6, 1, 1)  # sees one pixel, so that the map's gradient tells pixels apart
    guide(f, labels).backward()
    taught = f.pyramid[0].grad.abs().sum(1) > 0
    assert torch.equal(taught, labels != IGNORE)


def test_its_head_is_that_of_the_authors():
    guide = DetailGuidance(Shapes((64, 64), 19, taps={"detail": FeatureMap(256, 8)}))
    assert sum(p.numel() for p in guide.parameters()) == 256 * 64 * 9 + 2 * 64 + 64


def test_it_says_which_encoders_have_a_detail_map():
    with pytest.raises(BlockError, match=r"This network gives level_1; the backbones stdc1 and stdc2 give detail\."):
        DetailGuidance(SHAPES._replace(taps={}))


def test_two_steps_of_training_lower_it():
    torch.manual_seed(0)
    network = Network(Architecture(backbone=Component("stdc1"), align=Component("last")), size=(64, 64), classes=3)
    trained = Supervised(network, auxiliary=(Component("detail"),))
    image, labels = torch.rand(2, 3, 64, 64), (torch.arange(64) // 22).view(1, 64, 1).expand(2, 64, 64)
    optimiser = torch.optim.SGD(trained.parameters(), lr=0.05)
    values = []
    for _ in range(3):
        value = trained(image, labels)["auxiliary.detail"]
        values.append(value.item())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert values[0] > values[1] > values[2]
