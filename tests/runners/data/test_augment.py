import numpy as np
import pytest
import torch

from blocks.architecture import Component
from runners.data import dataset
from runners.data.augment import augment, generator, jitter, scale
from runners.data.batches import plain_batches, to_device, training_batches
from runners.training import Training

SPLIT = dataset(Component.of("shapes", {"size": (40, 56), "train": 11, "val": 5}), {}).split("train")


def test_a_sample_is_decided_by_seed_epoch_and_index():
    image, label = SPLIT[0]

    def once(*key):
        return augment(image, label, Training(), generator(*key))

    for a, b in zip(once(1, 2, 3), once(1, 2, 3), strict=True):
        assert torch.equal(a, b)
    for other in ((0, 2, 3), (1, 1, 3), (1, 2, 4)):
        assert not torch.equal(once(1, 2, 3)[0], once(*other)[0])


@pytest.mark.parametrize("ratio", [0.3, 0.77, 1.0, 1.01, 1.9])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_scaling_keeps_size_and_type_and_moves_labels_with_pixels(ratio, channels):
    """An image that shows its own label still shows it afterwards, but for pixels that bilinear resizing blends."""
    label = torch.zeros(40, 56, dtype=torch.uint8)
    label[10:30, 20:50] = 100
    image = label.expand(channels, -1, -1).contiguous()
    out, moved = scale(image, label, ratio, np.random.default_rng(0))
    assert (out.shape, moved.shape, out.dtype, moved.dtype) == (image.shape, label.shape, torch.uint8, torch.uint8)
    known = moved != 255
    assert float(known.float().mean()) == pytest.approx(min(1.0, ratio) ** 2, abs=0.06)
    off = (out[0].int() - moved.int()).abs()[known]
    assert float((off > 50).float().mean()) < 0.03
    assert set(moved.unique().tolist()) <= {0, 100, 255}


def test_padding_is_the_mean_and_ignored():
    image, label = SPLIT[1]
    out, moved = scale(image, label, 0.5, np.random.default_rng(3))
    mean = image.float().mean((1, 2)).to(torch.uint8)
    assert torch.equal(out[:, moved == 255], mean[:, None].expand(-1, int((moved == 255).sum())))


def test_flips_turn_image_and_label_together():
    image, label = SPLIT[2]
    off = {"scale": (1.0, 1.0), "jitter": 0.0}
    out, moved = augment(image, label, Training(flip=1.0, **off), generator(0, 1, 0))
    assert torch.equal(out, image.flip(-1))
    assert torch.equal(moved, label.flip(-1))
    same = augment(image, label, Training(flip=0.0, **off), generator(0, 1, 0))
    assert all(torch.equal(a, b) for a, b in zip(same, (image, label), strict=True))


def test_jitter_changes_colours_of_rgb_alone():
    image, label = SPLIT[3]
    assert not torch.equal(jitter(image, 1.2, 0.8, 1.1), image)
    assert torch.equal(jitter(image, 1.0, 1.0, 1.0), image)
    still = {"scale": (1.0, 1.0), "flip": 0.0}
    for channels in (1, 4):
        other = image[:1].expand(channels, -1, -1)
        assert torch.equal(augment(other, label, Training(jitter=0.9, **still), generator(0, 1, 3))[0], other)


@pytest.mark.parametrize("options", [{"photometric": True}, {"jitter": 0.4}, {"jitter": 0.0}])
@pytest.mark.parametrize("loaders", [0, 2])
def test_colours_are_the_same_wherever_they_change(options, loaders):
    """In the loader one image at a time, or on the device after the batch was moved: bit by bit on a CPU."""
    training, device = Training(batch=4, **options), torch.device("cpu")

    def made(**where):
        _, batches = training_batches(SPLIT, training, 5, loaders=loaders, pin=False, **where)
        return [(len(batch), to_device(batch, device, torch.channels_last)) for batch in batches]

    here, there = made(), made(colours=False)
    assert {parts for parts, _ in here} == {2}
    assert {parts for parts, _ in there} == {3}
    assert len(here) == len(there) == 2
    for (_, one), (_, other) in zip(here, there, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("batch", "sizes"), [(4, [4, 4]), (11, [11]), (64, [11])])
def test_only_full_batches_unless_there_is_no_other(batch, sizes):
    order, batches = training_batches(SPLIT, Training(batch=batch), 0, loaders=0, pin=False)
    assert [len(images) for images, _ in batches] == sizes
    assert len(order) == len(sizes)


def test_every_epoch_has_an_order_of_its_own():
    order, _ = training_batches(SPLIT, Training(batch=11), 0, loaders=0, pin=False)
    orders = []
    for epoch in (1, 2, 1):
        order.epoch = epoch
        orders.append([index for _, index in next(iter(order))])
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == list(range(11))


@pytest.mark.slow
def test_loading_processes_change_nothing():
    seen = []
    for loaders in (0, 2):
        order, batches = training_batches(SPLIT, Training(batch=3), 5, loaders=loaders, pin=False)
        passes = []
        for epoch in (1, 2):
            order.epoch = epoch
            passes += list(batches)
        passes += list(plain_batches(SPLIT, 3, loaders=loaders, pin=False))
        seen.append(passes)
    assert len(seen[0]) == 3 + 3 + 4
    for (a, b), (c, d) in zip(*seen, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


def test_a_batch_becomes_floats_from_0_to_1_last():
    images, labels = next(iter(plain_batches(SPLIT, 2, loaders=0, pin=False)))
    x, y = to_device((images, labels), torch.device("cpu"), torch.channels_last)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal((x * 255).round().to(torch.uint8), images)
    assert float(x.max()) <= 1.0
