"""CGRSeg's head: whose prototypes weigh what, and who shares the classifier."""

from __future__ import annotations

import torch

from blocks.cost import cost_of_module
from blocks.features import FeatureMap, Features, Shapes
from blocks.heads.dpg import DynamicPrototypes, PrototypeGate

SOURCE = Shapes(size=(32, 40), classes=3, map=FeatureMap(8, 4))


def stirred(head: torch.nn.Module) -> torch.nn.Module:
    """The head in eval mode, no layer as it starts: a fresh gate looks at nothing."""
    torch.manual_seed(0)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return head.eval()


def written(head: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return head(Features(torch.zeros(len(x), 3, 32, 40), map=x)).logits


def test_a_fresh_gate_halves_the_map():
    x = torch.randn(2, 8, 5, 4)
    torch.testing.assert_close(PrototypeGate(8, 16)(x, torch.randn(2, 8, 3, 1)), x / 2)


def test_each_class_is_gathered_where_its_coarse_logits_are_high():
    head, x = stirred(DynamicPrototypes(SOURCE)), torch.randn(2, 8, 4, 5)
    coarse = head.classifier(head.fuse(x))
    prototypes = torch.zeros(2, 8, 3, 1)
    for image in range(2):
        for place in range(3):
            share = coarse[image, place].exp() / coarse[image, place].exp().sum()
            prototypes[image, :, place, 0] = (share * x[image]).sum(dim=(1, 2))
    marks = [head.gate.share.weight[0] @ prototypes[:, :, place, 0].T for place in range(3)]
    mix = torch.einsum("kn,nck->nc", torch.stack(marks).softmax(dim=0), prototypes[..., 0])
    weights = head.gate.weights(mix).sigmoid()
    expected = head.classifier(x * (1 + weights[:, :, None, None]))
    torch.testing.assert_close(written(head, x), expected)


def test_the_coarse_logits_are_nobody_elses():
    head = DynamicPrototypes(SOURCE)
    assert head.out.coarse == 0
    assert head(Features(torch.zeros(2, 3, 32, 40), map=torch.randn(2, 8, 4, 5))).coarse == ()


def test_one_pixel_is_judged_by_the_rest_of_its_image():
    head, x = stirred(DynamicPrototypes(SOURCE)), torch.randn(1, 8, 4, 5)
    other = x.clone()
    other[..., 2:, 2:] = torch.randn(8, 2, 3)
    assert not torch.allclose(written(head, x)[..., 0, 0], written(head, other)[..., 0, 0])


def test_the_gate_costs_what_the_published_one_costs():
    with torch.device("meta"):
        cost = cost_of_module(PrototypeGate(256, 256), torch.empty(1, 256, 64, 64), torch.empty(1, 256, 150, 1))
    assert cost.params == 132353
    assert (cost.macs_conv, cost.macs - cost.macs_conv) == (338944 // 2, 76800 // 2)
