"""How components become one network, and how it is supervised."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from blocks.architecture import Architecture, Component
from blocks.catalogue import catalogue, completed
from blocks.errors import BlockError
from blocks.losses import IGNORE, CrossEntropy, Dice
from blocks.network import Network, Supervised

BACKBONE = Component.of("timm", {"model": "test_resnet"})
PLAIN = Architecture(backbone=BACKBONE)
COARSE = Architecture(backbone=BACKBONE, context=Component("ppm"), align=Component("bilinear"), head=Component("ssa"))


def build(architecture: Architecture, size=(61, 83), *, seed=0, **more) -> Network:
    torch.manual_seed(seed)
    return Network(architecture, size=size, classes=5, **more)


@pytest.mark.parametrize("image_channels", [1, 3, 4])
@pytest.mark.parametrize("align_corners", [False, True])
def test_logits_have_the_size_of_the_image(image_channels, align_corners):
    architecture = Architecture(backbone=BACKBONE, context=Component("aspp"), align_corners=align_corners)
    network = build(architecture, image_channels=image_channels).eval()
    assert network(torch.rand(2, image_channels, 61, 83)).shape == (2, 5, 61, 83)
    assert network.shapes.align_corners is align_corners


@pytest.mark.parametrize("context", list(catalogue("refine")))
def test_a_context_also_refines_the_aligned_map(context):
    refined = Architecture(backbone=BACKBONE, align=Component("bilinear"), refine=Component(context))
    network = build(refined).eval()
    features = network.features(torch.rand(1, 3, 61, 83))
    deepest, aligned = features.pyramid[-1], features.map
    assert deepest.shape[1] == network.shapes.pyramid[-1].channels
    assert aligned.shape[1] == network.shapes.map.channels
    assert aligned.shape[2] > deepest.shape[2]


def test_a_context_replaces_the_deepest_level_alone():
    bare = build(Architecture(backbone=BACKBONE)).shapes.pyramid
    pooled = build(Architecture(backbone=BACKBONE, context=Component.of("ppm", {"channels": 40}))).shapes.pyramid
    assert pooled[:-1] == bare[:-1]
    assert pooled[-1] == bare[-1]._replace(channels=40)


def test_what_is_left_out_takes_its_default():
    assert build(PLAIN).architecture == completed(PLAIN)
    assert build(PLAIN).architecture != PLAIN


def test_same_seed_same_weights_first_built_or_not():
    size = (73, 91)  # no other test builds this size, so that only the first build tries the model out
    first, second, other = (build(COARSE, size, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_it_builds_on_the_meta_device():
    with torch.device("meta"):
        network = Network(COARSE, size=(61, 83), classes=5)
        assert network(torch.empty(1, 3, 61, 83)).shape == (1, 5, 61, 83)
    assert {p.device.type for p in network.parameters()} == {"meta"}


@pytest.mark.slow
def test_one_graph_without_breaks():
    network = build(COARSE).eval()
    image = torch.rand(1, 3, 61, 83)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(image), network(image))


@pytest.mark.parametrize(
    ("slot", "chosen", "message"),
    [
        ("context", Component("pmp"), "The context slot needs a component it knows: got context='pmp'. Did you mean"),
        ("context", Component.of("ppm", {"bins": (0,)}), "context ppm"),
        ("backbone", Component.of("timm", {"model": "resnet81"}), "backbone timm: .* got model='resnet81'"),
    ],
)
def test_a_mistake_names_its_slot(slot, chosen, message):
    slots = {"backbone": BACKBONE, slot: chosen}
    with pytest.raises(BlockError, match=message):
        build(Architecture(**slots))


@pytest.mark.parametrize(("size", "channels"), [((0, 64), 3), ((64, 64), 2)])
def test_impossible_images_are_refused(size, channels):
    with pytest.raises(BlockError, match="image channels"):
        build(PLAIN, size, image_channels=channels)


class TestSupervised:
    image = torch.rand(2, 3, 61, 83)
    labels = torch.randint(0, 5, (2, 61, 83)).masked_fill(torch.rand(2, 61, 83) < 0.1, IGNORE)

    def test_each_loss_comes_back_weighted_under_its_name(self):
        network = build(COARSE).eval()
        main = (Component.of("cross_entropy", {"weight": 0.5}), Component("dice"))
        supervised = Supervised(network, main=main, coarse=(Component.of("cross_entropy", {"weight": 0.4}),))
        features = network.features(self.image)
        logits, coarse = (
            F.interpolate(t, (61, 83), mode="bilinear", align_corners=False)
            for t in (features.logits, features.coarse[0])
        )
        expected = {
            "main.cross_entropy": 0.5 * CrossEntropy(5)(logits, self.labels),
            "main.dice": Dice(5)(logits, self.labels),
            "coarse.cross_entropy": 0.4 * CrossEntropy(5)(coarse, self.labels),
        }
        torch.testing.assert_close(supervised(self.image, self.labels), expected)

    def test_without_coarse_logits_there_is_no_coarse_loss(self):
        assert set(Supervised(build(PLAIN))(self.image, self.labels)) == {"main.cross_entropy"}

    def test_every_parameter_learns(self):
        supervised = Supervised(build(COARSE))
        sum(supervised(self.image, self.labels).values()).backward()
        without = [name for name, p in supervised.named_parameters() if p.grad is None]
        assert without == []

    def test_nothing_labelled_trains_nothing(self):
        supervised = Supervised(build(COARSE), main=(Component("ohem"), Component("dice")))
        total = sum(supervised(self.image, torch.full_like(self.labels, IGNORE)).values())
        total.backward()
        assert total.item() == 0
        assert max(p.grad.abs().max().item() for p in supervised.parameters()) == 0

    def test_class_weights_reach_every_loss(self):
        network, weights = build(COARSE).eval(), torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
        plain = Supervised(network)(self.image, self.labels)
        weighed = Supervised(network, class_weights=weights)(self.image, self.labels)
        assert all(plain[name] != weighed[name] for name in plain)

    def test_a_loss_named_twice_shows_up_as_the_sum(self):
        network = build(PLAIN).eval()
        once = Supervised(network)(self.image, self.labels)["main.cross_entropy"]
        twice = Supervised(network, main=(Component("cross_entropy"),) * 2)(self.image, self.labels)
        torch.testing.assert_close(twice, {"main.cross_entropy": 2 * once})

    def test_weights_and_class_weights_stay_out_of_the_checkpoint(self):
        network = build(COARSE)
        keys = Supervised(network, class_weights=torch.ones(5)).state_dict().keys()
        assert keys == {f"network.{key}" for key in network.state_dict()}
