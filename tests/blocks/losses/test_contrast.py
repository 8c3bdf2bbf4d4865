"""Pixel contrast: against loops over pixels, its anchors, its memory and its warm-up."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes
from blocks.losses import IGNORE, PixelContrast
from blocks.losses.contrast import Pixels, contrast
from blocks.losses.memory import ClassMemory

CLASSES = 3
SOURCE = Shapes(size=(32, 32), classes=CLASSES, map=FeatureMap(6, 4))
EVERY = {"warmup": 0, "channels": 5, "max_views": 4}


def looped(anchors: Tensor, labels: list[int], memory: Tensor, classes: list[int], temperature: float) -> float:
    """The loss in plain loops over pairs of pixels."""
    losses = []
    for i, anchor in enumerate(anchors):
        met = [(j, k, c) for j, (k, c) in enumerate(zip(anchors, labels, strict=True)) if j != i]
        met += [(-1, k, c) for k, c in zip(memory, classes, strict=True)]
        near = [(math.exp(float(anchor @ k) / temperature), c) for _, k, c in met]
        negatives = sum(e for e, c in near if c != labels[i])
        positives = [-math.log(e / (e + negatives)) for e, c in near if c == labels[i]]
        if positives:
            losses.append(sum(positives) / len(positives))
    return sum(losses) / len(losses)


def unit(*size: int) -> Tensor:
    return F.normalize(torch.randn(*size, dtype=torch.double), dim=-1)


def scene(seed: int = 0, batch: int = 2) -> tuple[Features, Tensor]:
    """A map with three bands of classes, a few pixels unlabelled, and logits that are partly right."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 6, 8, 8, generator=generator, requires_grad=True)
    labels = (torch.arange(32) * CLASSES // 32).view(1, 32, 1).repeat(batch, 1, 32)
    labels[:, :, :4] = IGNORE
    return Features(
        torch.zeros(batch, 3, 32, 32), map=x, logits=torch.randn(batch, CLASSES, 8, 8, generator=generator)
    ), labels


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("remembered", [0, 7])
def test_it_is_the_loss_of_loops_over_pairs(temperature, remembered):
    torch.manual_seed(0)
    # Class 4 has a single anchor: a positive only where the memory has one.
    labels, classes = [0, 0, 0, 1, 1, 4], [0, 1, 1, 2, 2, 4, 0][:remembered]
    anchors, memory = unit(6, 5), unit(7, 5)[:remembered]
    held = [(memory, torch.tensor(classes))] if remembered else []
    found = contrast(anchors, torch.tensor(labels), held, temperature)
    assert found.item() == pytest.approx(looped(anchors, labels, memory, classes, temperature), rel=1e-6)


def test_portions_change_neither_loss_nor_gradient(monkeypatch):
    torch.manual_seed(0)
    anchors, labels = unit(40, 5).requires_grad_(), torch.arange(40) % 3
    held = [(unit(50, 5), torch.arange(50) % 4)]
    whole = contrast(anchors, labels, held, 0.1)
    (gradient,) = torch.autograd.grad(whole, anchors)
    monkeypatch.setattr("blocks.losses.contrast.portion_of", lambda *_: 7)
    parts = contrast(anchors, labels, held, 0.1)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts, anchors)[0], gradient)


def test_its_gradient_is_that_of_its_value():
    torch.manual_seed(0)
    held = [(unit(4, 3), torch.tensor([0, 1, 2, 2]))]
    assert torch.autograd.gradcheck(lambda a: contrast(a, torch.arange(5) % 2, held, 0.5), unit(5, 3).requires_grad_())


def test_one_class_alone_has_nothing_to_be_told_from():
    anchors = unit(4, 5).requires_grad_()
    loss = contrast(anchors, torch.zeros(4, dtype=torch.long), [], 0.1)
    loss.backward()
    assert loss.item() == 0
    assert not anchors.grad.any()


@pytest.mark.parametrize(
    ("hard", "easy", "samples", "expected"),
    [
        (20, 20, 100, (4, 4)),  # half and half of the 8 views
        (20, 3, 100, (5, 3)),  # too few easy ones: hard ones fill up
        (1, 20, 100, (1, 7)),
        (0, 9, 100, (0, 8)),
        (20, 20, 5, (2, 3)),  # fewer views than allowed, for the batch has no more samples
        (4, 4, 100, (0, 0)),  # no more pixels than views: no anchors
    ],
)
def test_half_of_the_anchors_are_hard_where_there_are_as_many(hard, easy, samples, expected):
    loss = PixelContrast(SOURCE, warmup=0, max_views=8, max_samples=samples)
    right = torch.tensor([False] * hard + [True] * easy)[torch.randperm(hard + easy)]
    regions = torch.full((hard + easy,), 4)
    chosen = loss._anchors(Pixels(torch.zeros(hard + easy, 5), regions % CLASSES, regions, right))
    assert len(set(chosen.tolist())) == len(chosen)
    assert ((~right[chosen]).sum().item(), right[chosen].sum().item()) == expected


def test_samples_are_shared_among_the_regions():
    loss = PixelContrast(SOURCE, warmup=0, max_views=8, max_samples=20)
    regions = torch.arange(5).repeat_interleave(30)
    chosen = loss._anchors(Pixels(torch.zeros(150, 5), regions % CLASSES, regions, torch.rand(150) < 0.5))
    assert torch.bincount(regions[chosen]).tolist() == [4] * 5


def test_all_pixels_of_a_class_are_drawn_alike():
    torch.manual_seed(0)
    loss = PixelContrast(SOURCE, warmup=0, max_views=2)
    pixels = Pixels(torch.zeros(10, 5), torch.zeros(10).long(), torch.zeros(10).long(), torch.ones(10).bool())
    drawn = torch.stack([torch.bincount(loss._anchors(pixels), minlength=10) for _ in range(500)]).sum(0)
    assert drawn.sum() == 1000
    assert (drawn - 100).abs().max() < 40


def test_the_map_its_labels_and_predictions_meet_pixel_by_pixel():
    f, labels = scene()
    loss = PixelContrast(SOURCE, **EVERY, memory_size=0)
    embeddings = F.normalize(torch.randn(2, 5, 8, 8), dim=1)
    pixels = loss._pixels(embeddings, f.logits, labels)
    found = iter(zip(*pixels, strict=True))
    for image, y, x in ((n, y, x) for n in range(2) for y in range(8) for x in range(8)):
        if (label := labels[image, 4 * y, 4 * x]) != IGNORE:
            embedding, its_label, region, right = next(found)
            assert torch.equal(embedding, embeddings[image, :, y, x])
            assert (its_label, region) == (label, image * CLASSES + label)
            assert right == (f.logits[image, :, y, x].argmax() == label)
    assert next(found, None) is None


def test_temperatures_and_weight_are_factors():
    f, labels = scene()

    def value(**options: float) -> float:
        torch.manual_seed(0)
        return PixelContrast(SOURCE, **EVERY, memory_size=0, **options).eval()(f, labels).item()

    usual = value()
    assert value(weight=0.3) == pytest.approx(3 * usual)
    assert value(base_temperature=0.1) == pytest.approx(0.7 * usual)


def test_logits_of_another_size_than_the_map_serve():
    f, labels = scene()
    finer = f._replace(logits=F.interpolate(f.logits, scale_factor=2.0, mode="nearest"))
    values = []
    for each in (f, finer):
        torch.manual_seed(0)
        values.append(PixelContrast(SOURCE, **EVERY, memory_size=0)(each, labels))
    assert values[0] == values[1] > 0


@pytest.mark.parametrize("memory", [0, 20])
@pytest.mark.parametrize("given", ["nothing", "too little"])
def test_without_enough_labels_it_is_nothing(memory, given):
    f, labels = scene()
    loss = PixelContrast(
        SOURCE, warmup=0, channels=5, max_views=100 if given == "too little" else 1, memory_size=memory
    )
    value = loss(f, labels if given == "too little" else torch.full_like(labels, IGNORE))
    value.backward()
    assert value.item() == 0
    assert not f.map.grad.any()
    assert all(p.grad is not None and not p.grad.any() for p in loss.parameters())


def test_it_waits_for_the_warm_up_and_counts_no_evaluation():
    f, labels = scene()
    loss = PixelContrast(SOURCE, **EVERY | {"warmup": 2})
    loss.eval()(f, labels)
    values = [loss.train()(f, labels).item() for _ in range(3)]
    assert values[:2] == [0, 0]
    assert values[2] > 0
    assert loss.steps == 3


def test_a_queue_holds_the_latest_of_each_class():
    memory, queues = ClassMemory(CLASSES, 4, 1), [[], [], []]
    torch.manual_seed(0)
    for count in (0, 1, 3, 2, 20, 5):
        keys, classes = torch.randn(count, 1), torch.randint(0, CLASSES, (count,))
        memory.add(keys, classes)
        for key, c in zip(keys, classes.tolist(), strict=True):
            queues[c] = [*queues[c], key.item()][-4:]
        held, of = memory.recall()
        assert [sorted(held[of == c].flatten().tolist()) for c in range(CLASSES)] == [sorted(q) for q in queues]


def test_it_remembers_pixels_and_regions_of_every_class():
    f, labels = scene()
    loss = PixelContrast(SOURCE, **EVERY, memory_pixels=3)
    with torch.no_grad():
        torch.manual_seed(0)
        embeddings = loss.projection(f.map)
        loss(f, labels)
    small = labels[:, ::4, ::4]
    for name, each in (("pixel_queue", 3), ("region_queue", 1)):
        keys, classes = getattr(loss, name).recall()
        assert classes.tolist() == [c for c in range(CLASSES) for _ in range(2 * each)]
        torch.testing.assert_close(keys.norm(dim=1), torch.ones(len(keys)))
        for place, (key, c) in enumerate(zip(keys, classes.tolist(), strict=True)):
            image = place // each % 2
            known = embeddings[image].movedim(0, -1)[small[image] == c]
            near = known if name == "pixel_queue" else F.normalize(known.mean(0, keepdim=True), dim=1)
            assert (near - key).abs().amax(1).min() < 1e-6


def test_what_is_remembered_teaches():
    first, labels = scene(0)
    second, _ = scene(1)
    losses = []
    for before in ((), (first,)):
        torch.manual_seed(0)
        loss = PixelContrast(SOURCE, **EVERY)
        for f in before:
            loss(f, labels)
        torch.manual_seed(1)
        losses.append(loss(second, labels))
    assert losses[0] != losses[1]
    losses[1].backward()
    assert second.map.grad.isfinite().all()
    assert second.map.grad.any()


def test_a_resumed_training_goes_on_as_if_it_had_never_stopped():
    def steps(loss: PixelContrast, seeds: range) -> list[float]:
        optimiser = torch.optim.SGD(loss.parameters(), lr=0.1)
        values = []
        for seed in seeds:
            f, labels = scene(seed)
            value = loss(f, labels)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            values.append(value.item())
        return values

    options = EVERY | {"warmup": 1, "memory_size": 9, "memory_pixels": 2}
    torch.manual_seed(0)
    through = PixelContrast(SOURCE, **options)
    steps(through, range(3))
    saved = {name: tensor.clone() for name, tensor in through.state_dict().items()}
    generator = torch.get_rng_state()
    expected = steps(through, range(3, 6))
    resumed = PixelContrast(SOURCE, **options)
    resumed.load_state_dict(saved)
    torch.set_rng_state(generator)
    assert steps(resumed, range(3, 6)) == expected
    assert resumed.steps == through.steps == 6
    for ours, theirs in zip(resumed.buffers(), through.buffers(), strict=True):
        assert torch.equal(ours, theirs)


def test_it_embeds_the_map_of_a_name():
    f, labels = scene()
    source = SOURCE._replace(taps={"finer": FeatureMap(7, 2)})
    x = torch.randn(2, 7, 16, 16, requires_grad=True)
    loss = PixelContrast(source, **EVERY, at="finer")
    loss(f._replace(taps={"finer": x}), labels).backward()
    assert x.grad.any()
    assert f.map.grad is None
    with pytest.raises(BlockError, match="gives finer and map"):
        PixelContrast(source, at="coarser")


def test_it_wants_a_map():
    with pytest.raises(BlockError, match="an align"):
        PixelContrast(Shapes(size=(32, 32), classes=2, pyramid=(FeatureMap(8, 4),)))
