"""Image-level and semantic-level context: the same numbers as attention over every pixel, class maps filled by loops."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from blocks.contexts.isnet import ImageLevelContext, SemanticLevelContext, class_means


def over_all_pixels(block, x: Tensor, seen: Tensor) -> Tensor:
    """What the map finds in another, pixel by pixel."""
    query, key, value = (layer(y).flatten(2) for layer, y in ((block.query, x), (block.key, seen), (block.value, seen)))
    weight = (query.transpose(1, 2) @ key * block.scale).softmax(dim=2)
    return block.up((value @ weight.transpose(1, 2)).reshape(len(x), -1, *x.shape[2:]))


def class_map(x: Tensor, coarse: Tensor) -> Tensor:
    """The mean of each pixel's class, in its place."""
    filled = torch.zeros_like(x)
    for n in range(len(x)):
        chosen = coarse[n].argmax(dim=0)
        for k in range(coarse.shape[1]):
            if (chosen == k).any():
                weight = coarse[n, k][chosen == k].softmax(dim=0)
                filled[n][:, chosen == k] = (x[n][:, chosen == k] @ weight)[:, None]
    return filled


def settled(block):
    """Give the normalisations statistics of their own, as after training."""
    for name, buffer in block.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.uniform_(0.5, 1.5)
    return block


@pytest.fixture
def maps() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    coarse = 2 * torch.randn(2, 5, 7, 9)
    coarse[:, 3] -= 100  # no pixel is of this class
    coarse[1, 4] += 4  # few pixels are of another
    return torch.randn(2, 8, 7, 9), coarse, torch.randn(2, 8, 7, 9)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_looking_at_classes_is_looking_at_all_their_pixels(maps, training):
    x, coarse, image_level = maps
    x.requires_grad_()
    coarse.requires_grad_()
    ours = settled(SemanticLevelContext(8, 6)).train(training)
    theirs = copy.deepcopy(ours)
    given = ours(x, coarse, image_level)
    mine = torch.autograd.grad(given.square().sum(), (x, coarse, *ours.parameters()))
    expected = theirs.fuse(torch.cat([image_level, over_all_pixels(theirs, x, class_map(x, coarse))], dim=1))
    torch.testing.assert_close(given, expected)
    same = torch.autograd.grad(expected.square().sum(), (x, coarse, *theirs.parameters()))
    for one, other in zip(mine, same, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    for one, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_pixel_weighs_by_its_own_class_alone(maps):
    x, coarse, _ = maps
    means, member = class_means(x, coarse)
    assert torch.equal(member.argmax(dim=1), coarse.argmax(dim=1).flatten(1))
    assert (member.sum(dim=1) == 1).all()
    assert (member[:, 3] == 0).all()
    torch.testing.assert_close((means.transpose(1, 2) @ member).reshape(x.shape), class_map(x, coarse))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_all_pixels_know_the_mean_of_their_image(maps, training):
    x, *_ = maps
    ours = settled(ImageLevelContext(8, 6)).train(training)
    theirs = copy.deepcopy(ours)
    both = torch.cat([x.mean(dim=(2, 3), keepdim=True).expand_as(x), x], dim=1)
    expected = theirs.fuse(torch.cat([x, over_all_pixels(theirs, x, both)], dim=1))
    torch.testing.assert_close(ours(x), expected)
