"""Auxiliary heads: which maps they read, how they judge them, and the sizes of the published ones."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from blocks.architecture import Architecture, Component
from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes
from blocks.losses import IGNORE, AuxiliaryHead
from blocks.losses.auxiliary_head import Convolutional
from blocks.network import Network, Supervised

CLASSES = 3
SHAPES = Shapes((24, 32), CLASSES, pyramid=(FeatureMap(4, 4), FeatureMap(6, 8)), taps={"booster": FeatureMap(5, 8)})


def features() -> Features:
    torch.manual_seed(0)
    pyramid = (torch.randn(2, 4, 6, 8), torch.randn(2, 6, 3, 4))
    return Features(torch.rand(2, 3, 24, 32), pyramid, taps={"booster": torch.randn(2, 5, 3, 4)})


def labels() -> torch.Tensor:
    torch.manual_seed(1)
    found = torch.randint(0, CLASSES, (2, 24, 32))
    found[:, :3] = IGNORE
    return found


@pytest.mark.parametrize(("name", "index"), [("level_1", 0), ("level_2", 1)])
def test_levels_count_from_the_finest(name, index):
    aux = AuxiliaryHead(SHAPES, at=(name,)).eval()
    logits = F.interpolate(aux.heads[0](features().pyramid[index]), (24, 32), mode="bilinear")
    expected = 0.4 * F.cross_entropy(logits, labels(), ignore_index=IGNORE)
    torch.testing.assert_close(aux(features(), labels()), expected)


def test_each_map_has_a_head_and_the_losses_are_summed():
    weights = torch.tensor([0.5, 1.0, 2.0])
    aux = AuxiliaryHead(SHAPES, weights, at=("booster", "level_1"), channels=(7, 9), convs=2, weight=1.5).eval()
    assert [(head[0][0].in_channels, head[0][0].out_channels) for head in aux.heads] == [(5, 7), (4, 9)]
    total = 0.0
    for head, x in zip(aux.heads, (features().taps["booster"], features().pyramid[0]), strict=True):
        logits = F.interpolate(head(x), (24, 32), mode="bilinear")
        total += F.cross_entropy(logits, labels(), weights, ignore_index=IGNORE)
    torch.testing.assert_close(aux(features(), labels()), 1.5 * total)


def test_without_convolutions_it_is_a_classifier():
    aux = AuxiliaryHead(SHAPES, at=("level_2",), convs=0)
    assert [tuple(p.shape) for p in aux.parameters()] == [(CLASSES, 6, 1, 1), (CLASSES,)]
    aux(features(), labels()).backward()


@pytest.mark.parametrize("name", ["level_0", "level_3", "boosted"])
def test_a_map_that_the_network_lacks_is_refused_with_those_that_it_has(name):
    with pytest.raises(BlockError, match=f"got at='{name}'. This network gives booster, level_1, level_2."):
        AuxiliaryHead(SHAPES, at=("level_1", name))


def test_widths_that_are_neither_one_nor_one_a_map_are_refused():
    with pytest.raises(BlockError, match="one width, or one for each map"):
        AuxiliaryHead(SHAPES, at=("level_1",), channels=(7, 9))


def params(*heads: tuple[int, int, int], classes: int) -> int:
    """Of heads by their inputs, channels and convolutions. [count]"""
    with torch.device("meta"):
        built = [Convolutional(a, b, classes, convs=c) for a, b, c in heads]
    return sum(p.numel() for head in built for p in head.parameters())


def test_they_are_what_published_networks_have_besides_their_inference_part():
    """With and without auxiliary heads, measured from mmsegmentation 1.2.2."""
    assert params((1024, 256, 1), classes=150) == 54_065_292 - 51_666_934, "psanet_r50"
    assert params((384, 256, 1), classes=150) == 59_941_862 - 59_018_064, "upernet_swin_t"
    assert params((128, 128, 1), (128, 128, 1), classes=19) == 47_827_833 - 47_527_507, "icnet_r50"
    boosters = (16, 16, 2), (32, 64, 2), (64, 256, 2), (128, 1024, 2)
    assert params(*boosters, classes=19) == 14_804_255 - 3_358_883, "bisenetv2"


@pytest.mark.parametrize("criterion", ["cross_entropy", "ohem", "dice"])
def test_two_steps_of_training_lower_it(criterion):
    torch.manual_seed(0)
    network = Network(
        Architecture(backbone=Component("stdc1"), align=Component("last")), size=(64, 64), classes=CLASSES
    )
    options = {"at": ("detail", "level_3"), "channels": (16,), "dropout": 0.0, "criterion": criterion}
    trained = Supervised(network, auxiliary=(Component.of("auxiliary_head", options),))
    image, truth = torch.rand(2, 3, 64, 64), (torch.arange(64) // 22).view(1, 64, 1).expand(2, 64, 64)
    optimiser = torch.optim.SGD(trained.auxiliary.parameters(), lr=0.1)
    values = []
    for _ in range(3):
        value = trained(image, truth)["auxiliary.auxiliary_head"]
        values.append(value.item())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert values[0] > values[1] > values[2]
