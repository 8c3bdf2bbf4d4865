import pytest
import torch

from blocks.architecture import Component
from runners.data import dataset


def shapes(**options):
    return dataset(Component.of("shapes", options), {})


def test_a_scene_depends_on_its_split_and_index_alone():
    first, second = shapes(train=5), shapes(train=9)
    for index in (0, 4):
        for a, b in zip(first.split("train")[index], second.split("train")[index], strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(first.split("train")[0][0], first.split("train")[1][0])
    assert not torch.equal(first.split("train")[0][0], first.split("val")[0][0])


def test_a_scene_is_what_it_was_when_the_version_was_raised():
    image, label = shapes().split("train")[0]
    assert int(label.long().sum()) == 4773
    # Sines differ in their last bit from machine to machine, and a pixel may round the other way.
    assert int(image.long().sum()) == pytest.approx(1_371_399, abs=20)


@pytest.mark.parametrize("size", [(64, 64), (48, 97), (96, 96), (16, 16)])
def test_samples_have_the_promised_type_and_size(size):
    data = shapes(size=size, train=3)
    image, label = data.split("train")[2]
    assert (image.dtype, label.dtype) == (torch.uint8, torch.uint8)
    assert (image.shape, label.shape) == ((3, *size), size)
    assert int(label.max()) < data.info.classes
    with pytest.raises(IndexError):
        data.split("train")[3]


def test_every_class_occurs_and_the_small_ones_are_small():
    split = shapes().split("train")
    shares = sum(torch.bincount(split[i][1].flatten().int(), minlength=6) for i in range(64)) / (64 * 64 * 64)
    field, water, house, wire, sheep, boat = shares.tolist()
    assert min(field, water) > 0.25
    assert house > 0.05
    assert 0.02 < wire < 0.1
    assert 0.002 < sheep < 0.02
    assert 0.002 < boat < 0.02


def test_a_boat_and_a_sheep_differ_in_their_surroundings_only():
    """Mean colours of the two agree to a few percent over many scenes."""
    split, means = shapes(noise=0.0).split("train"), {4: [], 5: []}
    for index in range(150):
        image, label = split[index]
        for animal, found in means.items():
            if (label == animal).any():
                found.append(image[:, label == animal].float().mean(1))
    sheep, boat = (torch.stack(found).mean(0) for found in means.values())
    assert (sheep - boat).abs().max() < 8


def test_the_fingerprint_follows_the_options():
    assert shapes().fingerprint() == shapes(size=(64, 64)).fingerprint()
    assert len({shapes().fingerprint(), shapes(train=7).fingerprint(), shapes(noise=0.2).fingerprint()}) == 3
