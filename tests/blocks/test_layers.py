"""The primitives that blocks share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blocks.layers import BatchNorm, conv_norm_act, resize, separable_conv


def test_batch_norm_is_torchs_where_there_is_a_variance():
    ours, theirs = BatchNorm(3), nn.BatchNorm2d(3)
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_var, theirs.running_var)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_batch_norm_trains_on_a_single_value_with_its_running_statistics():
    norm = BatchNorm(2)
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(4.0)
    value = norm(torch.full((1, 2, 1, 1), 5.0))
    assert value.flatten().tolist() == pytest.approx([2.0, 2.0], rel=1e-4)
    value.sum().backward()
    assert norm.weight.grad.tolist() == pytest.approx([2.0, 2.0], rel=1e-4)
    assert norm.running_mean.tolist() == [1.0, 1.0]
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 7])
def test_stride_1_keeps_height_and_width(kernel, dilation):
    x = torch.randn(2, 4, 7, 1)
    assert conv_norm_act(4, 6, kernel, dilation=dilation)(x).shape == (2, 6, 7, 1)
    assert separable_conv(4, 6, kernel, dilation=dilation)(x).shape == (2, 6, 7, 1)


def test_resize_leaves_a_map_of_that_size_alone():
    x = torch.randn(1, 2, 3, 4)
    assert resize(x, (3, 4), False) is x
    assert resize(x, (5, 9), True)[0, 0, -1, -1] == x[0, 0, -1, -1], "corners are aligned"
