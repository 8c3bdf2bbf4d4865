"""GateNet: how open the gates are, what they weigh, and the widths of the published decoder."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from blocks.aligns.gated import Gate, GatedPyramid
from blocks.features import FeatureMap, Features, Shapes

SOURCE = Shapes(size=(36, 44), classes=3, pyramid=(FeatureMap(6, 4), FeatureMap(40, 8)))
LEVELS = (torch.randn(2, 6, 9, 11), torch.randn(2, 40, 5, 6))


def test_openings_are_means_of_sigmoids():
    gate = Gate(3, (), 2)
    x = torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(gate(x), F.adaptive_avg_pool2d(torch.sigmoid(gate.convs[0](x)), 1))


def test_the_first_opening_weighs_the_decoder_and_the_second_the_branch_of_all_levels():
    align = GatedPyramid(SOURCE, channels=8, width=9).eval()
    fine, deep = align.transitions[0](LEVELS[0]), align.transitions[1](LEVELS[1])
    assert fine.shape[1] == 9, "the least width"
    assert deep.shape[1] == 10, "a quarter"
    deep_gate = align.gates[1](torch.cat([LEVELS[1], deep], dim=1))
    brought = F.interpolate(align.decoder[1](deep_gate[:, :1] * deep), (9, 11), mode="bilinear")
    fine_gate = align.gates[0](torch.cat([LEVELS[0], brought], dim=1))
    x = align.decoder[0](brought + fine_gate[:, :1] * fine)
    again = F.interpolate(deep_gate[:, 1:] * deep, (9, 11), mode="bilinear")
    expected = x + align.parallel(torch.cat([x, again, fine_gate[:, 1:] * fine], dim=1))
    f = Features(torch.zeros(2, 3, 36, 44), pyramid=LEVELS)
    torch.testing.assert_close(align(f).map, expected)


def test_without_the_branch_a_gate_has_one_opening():
    align = GatedPyramid(SOURCE, channels=8, parallel=False)
    assert [gate.convs[-1].out_channels for gate in align.gates] == [1, 1]
    assert align.parallel is None


def test_on_resnet_50_its_widths_are_the_published_ones():
    levels = zip((64, 256, 512, 1024, 2048), (2, 4, 8, 16, 32), strict=True)
    source = SOURCE._replace(pyramid=tuple(FeatureMap(*level) for level in levels))
    with torch.device("meta"):
        align = GatedPyramid(source)
    widths = [[m.in_channels for m in gate.modules() if isinstance(m, nn.Conv2d)] for gate in align.gates]
    assert widths == [[64 + 64], [256 + 64, 64], [512 + 128, 128], [1024 + 256, 256, 64], [2048 + 512, 512, 128]]
    assert [block[0].out_channels for block in align.transitions] == [64, 64, 128, 256, 512]
    assert [block[0].out_channels for block in align.decoder][1:] == [64, 64, 128, 256]
