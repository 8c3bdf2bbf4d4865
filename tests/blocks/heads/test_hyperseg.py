"""HyperSeg: weights made patch by patch, from which channels, and a map in place of a level."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes
from blocks.heads.hyperseg import HyperSeg, NestedUNet
from blocks.heads.patchwise import PatchConv, PatchDecoder, PatchInvertedResidual, portions

PYRAMID = (FeatureMap(8, 4), FeatureMap(12, 8), FeatureMap(16, 16), FeatureMap(24, 32))
SOURCE = Shapes((64, 96), 5, pyramid=PYRAMID, map=PYRAMID[-1])
SMALL = {"signal": 64, "groups": (8, 4)}


def unsettled(module: nn.Module) -> nn.Module:
    """Give normalisations statistics that are not those of an identity, and judge as in evaluation."""
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    return module.eval()


def features(size: tuple[int, int] = (64, 96), *, batch: int = 2) -> Features:
    torch.manual_seed(1)
    pyramid = tuple(torch.randn(batch, c, -(-size[0] // s), -(-size[1] // s)) for c, s in PYRAMID)
    return Features(torch.rand(batch, 3, *size), pyramid=pyramid, map=pyramid[-1])


def patch_by_patch(block: nn.Module, x: Tensor, signal: Tensor, halo: int, convolve) -> Tensor:
    """Cut each patch out, convolve it with the weights that its cell of the signal makes, put it back."""
    weights = block.make(signal)
    rows, columns = (full // cells for full, cells in zip(x.shape[2:], signal.shape[2:], strict=True))
    around = F.pad(x, (halo,) * 4, mode="reflect")
    out = []
    for n in range(len(x)):
        strips = []
        for i in range(signal.shape[2]):
            cut = around[n : n + 1, :, i * rows : (i + 1) * rows + 2 * halo]
            parts = [cut[..., j * columns : (j + 1) * columns + 2 * halo] for j in range(signal.shape[3])]
            strips.append(torch.cat([convolve(p, weights[n, :, i, j]) for j, p in enumerate(parts)], dim=3))
        out.append(torch.cat(strips, dim=2))
    return torch.cat(out)


def test_each_patch_is_convolved_with_the_weights_of_its_cell():
    torch.manual_seed(0)
    block = unsettled(PatchConv(6, 5, signal=8, groups=4))
    assert block.make.weight.shape == (32, 2, 1, 1), "30 weights, filled up to groups of eight"
    x, signal = torch.randn(2, 6, 6, 8), torch.randn(2, 8, 3, 2)

    def convolve(patch: Tensor, weights: Tensor) -> Tensor:
        return F.relu(block.norm(F.conv2d(patch, weights[:30].reshape(5, 6, 1, 1))))

    torch.testing.assert_close(block(x, signal), patch_by_patch(block, x, signal, 0, convolve))


@pytest.mark.parametrize("outputs", [5, 6], ids=["plain", "residual"])
def test_inverted_residuals_see_one_pixel_of_the_next_patch(outputs):
    torch.manual_seed(0)
    block = unsettled(PatchInvertedResidual(6, outputs, signal=8, groups=2))
    x, signal = torch.randn(2, 6, 6, 8), torch.randn(2, 8, 3, 2)

    def convolve(patch: Tensor, weights: Tensor) -> Tensor:
        expand, depthwise, project, _ = weights.split((72, 108, 12 * outputs, len(weights) - 180 - 12 * outputs))
        y = F.relu6(block.norm1(F.conv2d(patch, expand.reshape(12, 6, 1, 1))))
        y = F.relu6(block.norm2(F.conv2d(y, depthwise.reshape(12, 1, 3, 3), groups=12)))
        return block.norm3(F.conv2d(y, project.reshape(outputs, 12, 1, 1)))

    expected = patch_by_patch(block, x, signal, 1, convolve) + (x if outputs == 6 else 0)
    torch.testing.assert_close(block(x, signal), expected)


@pytest.mark.parametrize("kind", [PatchConv, PatchInvertedResidual])
def test_a_map_that_does_not_divide_goes_on_as_it_ends(kind):
    torch.manual_seed(0)
    block = unsettled(kind(6, 5, signal=8, groups=2))
    x, signal = torch.randn(1, 6, 5, 7), torch.randn(1, 8, 3, 2)
    whole = torch.cat((x, x[..., -1:]), dim=3)
    whole = torch.cat((whole, whole[..., -1:, :]), dim=2)
    torch.testing.assert_close(block(x, signal), block(whole, signal)[..., :5, :7])


@pytest.mark.parametrize("kind", [PatchConv, PatchInvertedResidual])
def test_more_cells_than_pixels(kind):
    block = unsettled(kind(6, 5, signal=8, groups=2))
    assert block(torch.randn(1, 6, 1, 2), torch.randn(1, 8, 3, 2)).shape == (1, 5, 1, 2)


def test_a_cell_of_the_signal_rules_its_patch_alone():
    torch.manual_seed(0)
    block = unsettled(PatchConv(6, 5, signal=8, groups=2))
    x, signal = torch.randn(1, 6, 6, 8), torch.randn(1, 8, 3, 2)
    other = signal.clone()
    other[..., 1, 0] += 1
    changed = (block(x, signal) != block(x, other)).any(dim=1)[0]
    assert changed[2:4, :4].any()
    changed[2:4, :4] = False
    assert not changed.any()


def test_the_signal_is_shared_as_published():
    """HyperSeg-M's five levels need so many weights, and its 1280 channels are shared among them in units of 32."""
    weights = [82 * 64, 94 * 32, 44 * 16, 48 * (24 + 9 + 16), 68 * (34 + 9 + 19)]
    assert portions(1280, weights, unit=32) == [416, 224, 128, 192, 320]


@pytest.mark.parametrize("weights", [[1], [1, 1], [10**6, 1, 1, 1], [5, 5, 5], [3, 1, 4, 1, 5, 9]])
def test_every_level_gets_a_part_and_nothing_is_left(weights):
    for units in range(len(weights), 12):
        shares = portions(4 * units, weights, unit=4)
        assert sum(shares) == 4 * units
        assert all(share > 0 and share % 4 == 0 for share in shares)


def test_levels_know_where_their_pixels_lie():
    torch.manual_seed(0)
    decoder = unsettled(PatchDecoder((3,), (4,), kernels=(1,), groups=(2,), signal=8))
    given = decoder([torch.ones(1, 3, 4, 6)], torch.ones(1, 8, 1, 1))
    decoder.levels[0].make.weight.data[:20].reshape(4, 5, 4)[:, :2] = 0
    blind = decoder([torch.ones(1, 3, 4, 6)], torch.ones(1, 8, 1, 1))
    assert given.std(dim=(2, 3)).max() > 1e-3
    assert blind.std(dim=(2, 3)).max() < 1e-6


def test_the_signal_sees_the_whole_map_at_every_depth():
    for depth in (1, 2, 3):
        torch.manual_seed(0)
        unet = unsettled(NestedUNet(8, levels=depth))
        x = torch.randn(1, 8, 5, 7)
        other = x.clone()
        other[..., -1, -1] += 5
        changed = (unet(x) != unet(other)).any(dim=3).any(dim=2)[0]
        assert unet(x).shape == x.shape
        assert changed[4:].any()


@pytest.mark.parametrize(("slices", "reached"), [("own", True), ("first", False)])
def test_the_published_code_never_reads_the_nested_u_net(slices, reached):
    torch.manual_seed(0)
    head, f = unsettled(HyperSeg(SOURCE, slices=slices)), features()
    before = head(f).logits
    nn.init.normal_(head.context.up[0][0].weight)
    assert torch.equal(head(f).logits, before) is not reached


def test_after_last_the_pyramid_is_read_as_it_is():
    torch.manual_seed(0)
    head, f = unsettled(HyperSeg(SOURCE, **SMALL)), features()
    assert head.place == 3
    assert torch.equal(head(f).logits, head(f._replace(pyramid=(*f.pyramid[:-1], torch.zeros(1)))).logits)


@pytest.mark.parametrize(("stride", "place"), [(4, 0), (8, 1), (16, 2), (32, 3), (2, 0)])
def test_the_map_of_an_align_takes_the_place_of_the_level_of_its_stride(stride, place):
    torch.manual_seed(0)
    head = unsettled(HyperSeg(SOURCE._replace(map=FeatureMap(10, stride)), **SMALL))
    f = features()
    f = f._replace(map=torch.randn(2, 10, 64 // stride, 96 // stride))
    logits = head(f).logits
    for i in range(4):
        zeroed = tuple(torch.zeros_like(x) if i == j else x for j, x in enumerate(f.pyramid))
        assert torch.equal(head(f._replace(pyramid=zeroed)).logits, logits) is (i == place)
    assert logits.shape[2:] == (f.map if place == 0 else f.pyramid[0]).shape[2:]


def test_of_levels_of_one_stride_the_deepest_is_the_map():
    dilated = (FeatureMap(8, 4), FeatureMap(12, 8), FeatureMap(16, 8), FeatureMap(24, 8))
    assert HyperSeg(SOURCE._replace(pyramid=dilated, map=dilated[-1]), **SMALL).place == 3


def test_options_go_on_with_the_last_value():
    pyramid = (FeatureMap(6, 2), *PYRAMID)
    short = HyperSeg(SOURCE._replace(pyramid=pyramid), channels=(8, 4), kernels=(1, 3), **SMALL)
    long = {"channels": (8, 4, 4, 4), "kernels": (1, 3, 3, 3, 3), "signal": 64, "groups": (8, 4, 4, 4, 4)}
    assert [p.shape for p in short.parameters()] == [
        p.shape for p in HyperSeg(SOURCE._replace(pyramid=pyramid), **long).parameters()
    ]


def test_the_image_is_one_more_level():
    head, f = unsettled(HyperSeg(SOURCE, image=True, **SMALL)), features()
    assert head(f).logits.shape == (2, 5, 64, 96)
    assert not torch.equal(head(f).logits, head(f._replace(image=1 - f.image)).logits)


@pytest.mark.parametrize(
    "options",
    [{"signal": 33, "groups": (1,)}, {"signal": 64, "groups": (24,)}, {"groups": (32, 12)}, {"signal": 64}],
    ids=["odd", "not a multiple", "groups that do not divide", "too few for four levels"],
)
def test_a_signal_that_cannot_be_shared_is_refused(options):
    with pytest.raises(BlockError, match="even signal"):
        HyperSeg(SOURCE, **options)
