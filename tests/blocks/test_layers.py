"""The primitives that blocks share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blocks.cost import cost_of_module
from blocks.layers import AtrousConv, BatchNorm, conv_norm_act, resize, separable_conv


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


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("rate", [2, 3, 4, 6, 12])
@pytest.mark.parametrize("size", [(6, 7), (3, 13), (12, 1), (13, 25)])
@pytest.mark.parametrize("form", [(4, 6, 2, True), (4, 4, 4, False), (4, 6, 1, False)])
def test_taps_that_meet_only_padding_are_left_out_unnoticed(kernel, rate, size, form):
    inputs, outputs, groups, bias = form
    ours = AtrousConv(inputs, outputs, kernel, dilation=rate, groups=groups, bias=bias)
    theirs = nn.Conv2d(inputs, outputs, kernel, padding=rate * (kernel // 2), dilation=rate, groups=groups, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    given = torch.randn(2, inputs, *size)
    found = []
    for conv in (ours, theirs):
        x = given.clone().requires_grad_()
        out = conv(x)
        out.square().sum().backward()
        found.append((out, x.grad, *(p.grad for p in conv.parameters())))
    for left, right in zip(*found, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


def test_a_tap_is_left_out_where_it_lies_as_far_away_as_the_map_is_long():
    conv = AtrousConv(1, 1, 3, dilation=5, bias=False)
    with torch.no_grad():
        conv.weight.fill_(float("nan"))
        conv.weight[:, :, 1] = 1.0
    # Of five rows only the middle tap's are met; of six columns all three.
    assert conv(torch.ones(1, 1, 5, 6))[0, 0, 0].tolist() == [2.0, 1.0, 1.0, 1.0, 1.0, 2.0]
    assert conv(torch.ones(1, 1, 6, 6)).isnan().any()


def test_every_tap_is_counted():
    x = torch.randn(1, 8, 8, 10)
    ours, theirs = AtrousConv(8, 8, 3, dilation=12), nn.Conv2d(8, 8, 3, padding=12, dilation=12)
    assert cost_of_module(ours, x) == cost_of_module(theirs, x)


def test_resize_leaves_a_map_of_that_size_alone():
    x = torch.randn(1, 2, 3, 4)
    assert resize(x, (3, 4), False) is x
    assert resize(x, (5, 9), True)[0, 0, -1, -1] == x[0, 0, -1, -1], "corners are aligned"
