"""The colour distortion: what it may change, how often, and how far."""

import colorsys

import numpy as np
import pytest
import torch

from runners.data.augment import generator
from runners.data.photometric import drawn as distortion
from runners.data.photometric import photometric, saturated


def flat(*colour):
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, 4, 6).contiguous()


def drawn(image, count=1500):
    return [photometric(image, distortion(generator(7, 1, index))) for index in range(count)]


def test_it_is_decided_by_the_generator_and_keeps_size_and_type():
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    before = image.clone()
    one, same, other = (photometric(image, distortion(generator(0, 1, index))) for index in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert (one.shape, one.dtype) == (image.shape, torch.uint8)
    assert torch.equal(image, before)  # it may lie in memory that others read


def test_grey_shows_brightness_and_contrast_within_their_bounds():
    """Of grey, hue and saturation change nothing: a quarter of all images keep every pixel."""
    values = [int(image[0, 0, 0]) for image in drawn(flat(100, 100, 100))]
    assert all(torch.equal(image[0], image[2]) for image in drawn(flat(100, 100, 100), 50))
    assert values.count(100) / len(values) == pytest.approx(1 / 4, abs=0.05)
    assert min(values) >= round((100 - 32) * 0.5)
    assert max(values) <= round((100 + 32) * 1.5)
    assert min(values) < 45
    assert max(values) > 180


def test_black_shows_brightness_alone_and_white_never_overflows():
    """Contrast multiplies, so black stays black unless it was made brighter: in a quarter of the images."""
    black = [int(image.max()) for image in drawn(flat(0, 0, 0))]
    assert sum(value > 0 for value in black) / len(black) == pytest.approx(1 / 4, abs=0.05)
    assert max(black) <= 48
    assert max(int(image.max()) for image in drawn(flat(255, 255, 255), 200)) == 255


def test_hue_and_saturation_are_those_of_hsv_within_their_bounds():
    colour = (120, 90, 60)  # a hue of 30 degrees, a saturation of 1/2
    hues, saturations = [], []
    for image in drawn(flat(*colour)):
        hue, saturation, _ = colorsys.rgb_to_hsv(*(image[:, 0, 0] / 255).tolist())
        hues.append((hue * 360 - 30 + 180) % 360 - 180)
        saturations.append(saturation)
    hues, saturations = np.array(hues), np.array(saturations)
    assert abs(hues).max() <= 36 + 2  # eight bits round it
    assert hues.max() > 30
    assert hues.min() < -30
    assert np.mean(abs(hues) < 2) == pytest.approx(0.5 + 0.5 * 2 / 36, abs=0.05)
    # Brightness changes saturation, too; where it does not, it is half to one and a half of what there was.
    assert saturations.min() >= 0.5 * 60 / 152 - 0.01
    assert saturations.max() <= 1.0
    assert abs(np.median(saturations) - 0.5) < 0.02


def test_contrast_comes_before_or_after_the_saturation_in_equal_parts():
    """A saturated colour that contrast first drives beyond 255 comes out otherwise than if contrast is last."""

    class Scripted:
        """Answers: brightness off, the order, contrast and saturation on, hue off."""

        def __init__(self, early):
            self.answers = iter([0.9, 0.1 if early else 0.9, 0.1, 0.1, 0.9])

        def random(self):
            return next(self.answers)

        def uniform(self, low, high):
            return {(0.5, 1.5): 1.5}[low, high]

    # Contrast first: (255, 150, 75), then each distance to 255 grows by half, up to that of the last: (255, 106, 0).
    assert photometric(flat(200, 100, 50), distortion(Scripted(early=True)))[:, 0, 0].tolist() == [255, 106, 0]
    # Saturation first: the last channel is 0, a third farther away: (200, 67, 0), times 1.5.
    assert photometric(flat(200, 100, 50), distortion(Scripted(early=False)))[:, 0, 0].tolist() == [255, 100, 0]


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.3, 1.5])
def test_saturation_is_that_of_hsv(factor):
    pixels = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = saturated(pixels, factor)
    for y, x in np.ndindex(8, 8):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixels[:, y, x].tolist())
        expected = colorsys.hsv_to_rgb(hue, min(1.0, saturation * factor), value)
        assert found[:, y, x].tolist() == pytest.approx(expected, abs=1e-5)
    grey = torch.full((3, 1, 1), 0.3)
    assert torch.equal(saturated(grey, factor), grey)
    assert torch.equal(saturated(grey * 0, factor), grey * 0)
