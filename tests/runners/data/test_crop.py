"""Random scale and crop of samples of any size: where, how large, and how mixed."""

import numpy as np
import pytest
import torch

from runners.data.augment import augment, generator, scale
from runners.data.batches import training_batches
from runners.training import Training

PLAIN = {"flip": 0.0, "jitter": 0.0}


def ramp(height, width):
    """An image whose red says the row, green the column; the label says in which quarter of both a pixel lies."""
    y = torch.linspace(0, 255, height)[:, None].expand(height, width)
    x = torch.linspace(0, 255, width)[None].expand(height, width)
    image = torch.stack([y, x, torch.full_like(x, 99)]).round().to(torch.uint8)
    label = (y / 64).floor() * 4 + (x / 64).floor()
    return image, label.to(torch.uint8)


@pytest.mark.parametrize("before", [(40, 60), (90, 50), (33, 33), (200, 120)])
@pytest.mark.parametrize("ratio", [0.5, 0.8, 1.0, 1.3, 2.0])
def test_every_crop_has_the_size_that_is_asked_and_labels_go_with_pixels(before, ratio):
    image, label = ramp(*before)
    for index in range(20):
        out, moved = scale(image, label, ratio, generator(0, 1, index), size=(48, 40))
        assert (out.shape, moved.shape) == ((3, 48, 40), (48, 40))
        assert (out.dtype, moved.dtype) == (torch.uint8, torch.uint8)
        known = moved != 255
        expected = min(48, before[0] * ratio) * min(40, before[1] * ratio)
        assert int(known.sum()) == pytest.approx(expected, rel=0.06)
        # The image says which label each pixel must have, but for what blends at the borders of the quarters.
        shown = (out[0] // 64) * 4 + out[1] // 64
        assert float((shown == moved)[known].float().mean()) > 0.8
        assert torch.all(out[2][known] == 99)


def test_proportions_are_kept_and_ratios_are_uniform_in_their_range():
    """How fast red rises from row to row, and green from column to column, tells by how much a crop was resized."""
    image, label = ramp(256, 384)
    found = []
    for index in range(300):
        out, _ = augment(image, label, Training(scale=(0.5, 2.0), **PLAIN), generator(3, 1, index), size=(64, 64))
        rows, columns = (out[axis].float().mean(1 - axis) for axis in (0, 1))
        steps = (float(rows[-4] - rows[3]) / 57, float(columns[-4] - columns[3]) / 57)
        ratios = (255 / 255 / steps[0], 255 / 383 / steps[1])
        assert ratios[0] == pytest.approx(ratios[1], rel=0.1)
        found.append(ratios[0])
    counts, _ = np.histogram(found, bins=[0.45, 0.875, 1.25, 1.625, 2.1])
    assert counts.sum() == 300
    assert counts.min() > 50  # of 75


def test_crops_lie_anywhere_and_reach_every_corner():
    image, label = ramp(20, 24)
    image[0] = torch.arange(20)[:, None]
    image[1] = torch.arange(24)
    tops, lefts, corners = [], [], set()
    for index in range(1500):
        out, _ = augment(image, label, Training(scale=(1.0, 1.0), **PLAIN), generator(0, 1, index), size=(16, 16))
        top, left = int(out[0, 0, 0]), int(out[1, 0, 0])
        tops.append(top)
        lefts.append(left)
        if top in (0, 4) and left in (0, 8):
            corners.add((top, left))
    assert len(corners) == 4
    for places, count in ((tops, 5), (lefts, 9)):
        found = np.bincount(places, minlength=count)
        assert len(found) == count
        assert abs(found / 1500 - 1 / count).max() < 0.04


def test_what_is_smaller_lies_anywhere_on_its_mean_colour():
    image, label = ramp(20, 80)
    tops = set()
    mean = image.float().mean((1, 2)).to(torch.uint8)
    for index in range(200):
        out, moved = scale(image, label, 1.0, generator(0, 1, index), size=(24, 40))
        rows = (moved != 255).any(1).nonzero().flatten()
        assert len(rows) == 20
        tops.add(int(rows[0]))
        assert (moved != 255).any(0).all()  # of its width, a part was taken
        ignored = moved == 255
        assert torch.equal(out[:, ignored], mean[:, None].expand(-1, int(ignored.sum())))
    assert tops == {0, 1, 2, 3, 4}


def halves(ignored=False):
    """The left nine tenths are class 0 (or ignored), the rest class 1; red says which."""
    label = torch.ones(60, 100, dtype=torch.uint8)
    label[:, :90] = 255 if ignored else 0
    return (label * 50).expand(3, -1, -1).contiguous(), label


def test_a_crop_of_too_much_of_one_class_is_drawn_again():
    image, label = halves()

    def shares(limit, count=400):
        found = []
        for index in range(count):
            rng = generator(1, 1, index)
            _, moved = scale(image, label, 1.0, rng, size=(20, 20), largest_class=limit)
            found.append(float((moved == 0).float().mean()))
        return np.array(found)

    free, held = shares(1.0), shares(0.75)
    # Of 81 places from left to right, the last 6 show at least a quarter of class 1.
    chance = 6 / 81
    assert np.mean(free <= 0.75) == pytest.approx(chance, abs=0.04)
    # Ten times again, whatever came out the last time: all eleven miss in 43 of 100 crops.
    assert np.mean(held <= 0.75) == pytest.approx(1 - (1 - chance) ** 11, abs=0.06)
    assert held.max() == 1.0


def test_ignored_pixels_have_no_share_and_alone_they_are_not_enough():
    image, label = halves(ignored=True)
    alone = 0
    for index in range(300):
        _, moved = scale(image, label, 1.0, generator(2, 1, index), size=(20, 20), largest_class=0.75)
        alone += bool((moved == 255).all())
    # Class 1 is always all of what is labelled: no crop serves, so the eleventh is taken as it comes.
    assert alone / 300 == pytest.approx(71 / 81, abs=0.06)

    mixed = label.clone()
    mixed[::2, 90:] = 2  # equal parts of two classes among what is labelled
    seen = sum(
        bool((scale(image, mixed, 1.0, generator(2, 1, i), size=(20, 20), largest_class=0.75)[1] != 255).any())
        for i in range(300)
    )
    assert seen / 300 == pytest.approx(1 - (71 / 81) ** 11, abs=0.06)


def test_the_rule_serves_data_of_one_size_and_costs_nothing_where_all_is_shown():
    image, label = halves()
    for index in range(40):
        free = scale(image, label, 0.7, generator(0, 1, index))
        held = scale(image, label, 0.7, generator(0, 1, index), largest_class=0.5)
        assert all(torch.equal(a, b) for a, b in zip(free, held, strict=True))
    seen = [
        np.mean(
            [
                bool((scale(image, label, 2.0, generator(0, 1, i), largest_class=limit)[1] == 1).any())
                for i in range(200)
            ]
        )
        for limit in (1.0, 0.95)
    ]
    assert seen[1] > seen[0] + 0.3


def test_half_of_the_images_are_mirrored():
    image, label = ramp(30, 40)
    turned = [
        bool(augment(image, label, Training(scale=(1.0, 1.0), jitter=0.0), generator(5, 1, i))[0][1, 0, 0] > 100)
        for i in range(600)
    ]
    assert np.mean(turned) == pytest.approx(0.5, abs=0.06)


def test_photometric_takes_the_place_of_jitter_and_leaves_labels_alone():
    image, label = ramp(32, 32)
    still = {"scale": (1.0, 1.0), "flip": 0.0}
    changed = 0
    for index in range(40):
        plain = augment(image, label, Training(photometric=True, jitter=0.0, **still), generator(0, 1, index))
        both = augment(image, label, Training(photometric=True, jitter=1.0, **still), generator(0, 1, index))
        assert torch.equal(plain[0], both[0])
        assert torch.equal(plain[1], label)
        changed += not torch.equal(plain[0], image)
    assert changed > 30
    grey = image[:1]
    assert torch.equal(augment(grey, label, Training(photometric=True, **still), generator(0, 1, 0))[0], grey)


class Several:
    """Samples of several sizes."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        return ramp(30 + 9 * index, 70 - 5 * index)


@pytest.mark.slow
def test_batches_are_the_same_whoever_loads_them():
    training = Training(batch=3, scale=(0.5, 2.0), largest_class=0.75, photometric=True)
    seen = []
    for loaders in (0, 2):
        order, batches = training_batches(Several(), training, 5, loaders=loaders, pin=False, size=(32, 40))
        passes = []
        for epoch in (1, 2):
            order.epoch = epoch
            passes += list(batches)
        seen.append(passes)
    assert len(seen[0]) == 4
    assert seen[0][0][0].shape == (3, 3, 32, 40)
    for (a, b), (c, d) in zip(*seen, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
