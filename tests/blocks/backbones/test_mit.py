"""Mix Transformer: attention by its formula, sizes, small maps."""

from __future__ import annotations

import math

import pytest
import torch

from blocks.backbones.mit import SIZES, MixFeedForward, MixTransformer, OverlappingPatches, ReducedAttention
from blocks.cost import cost_of_module
from blocks.features import Features, Shapes

SOURCE = Shapes((512, 512), 150)


def sized(size: str, **options) -> MixTransformer:
    with torch.device("meta"):
        return MixTransformer(SOURCE, size=size, **options)


# In millions, as the paper prints them for the encoder alone.
@pytest.mark.parametrize(
    ("size", "millions"), [("b0", 3.4), ("b1", 13.1), ("b2", 24.2), ("b3", 44.0), ("b4", 60.8), ("b5", 81.4)]
)
def test_each_size_has_the_published_parameters(size, millions):
    count = sum(p.numel() for p in sized(size).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.1)


def test_b5_has_the_parameters_and_the_cost_of_the_measured_network():
    """Measured: SegFormer-B5 of 150 classes, whose head fuses four levels at 256 channels."""
    with torch.device("meta"):
        cost = cost_of_module(sized("b5"), Features(torch.empty(1, 3, 512, 512)))
    widths, cells = SIZES["b5"].widths, [(512 // stride) ** 2 for stride in (4, 8, 16, 32)]
    head = sum(256 * width + 512 for width in widths) + 1024 * 256 + 512 + 256 * 150 + 150
    macs = sum(256 * width * count for width, count in zip(widths, cells, strict=True))
    macs += (1024 * 256 + 256 * 150) * cells[0]
    assert cost.params + head == 82_008_406
    assert (cost.macs + macs) / 1e9 == pytest.approx(74.85, abs=0.005)
    assert (cost.macs_conv + macs) / 1e9 == pytest.approx(64.719, abs=0.0005)


@pytest.mark.parametrize("size", [(8, 12), (9, 13)])
def test_pixels_attend_to_the_reduced_map(size):
    torch.manual_seed(0)
    module = ReducedAttention(6, heads=2, reduction=4).double()
    x = torch.rand(1, *size, 6, dtype=torch.float64)
    query = module.query(x).reshape(-1, 6)
    # Patches that are not whole are dropped.
    reduced = module.norm(module.reduce(x[:, :8, :12].permute(0, 3, 1, 2)).flatten(2).transpose(1, 2))
    key, value = module.key_value(reduced)[0].split(6, dim=1)
    expected = []
    for pixel in query:
        heads = []
        for part in (slice(0, 3), slice(3, 6)):
            weights = torch.stack([pixel[part] @ k[part] / math.sqrt(3) for k in key]).softmax(0)
            heads.append(sum(w * v[part] for w, v in zip(weights, value, strict=True)))
        expected.append(module.project(torch.cat(heads)))
    torch.testing.assert_close(module(x).reshape(-1, 6), torch.stack(expected))


def test_a_map_smaller_than_a_patch_is_filled_up():
    module = ReducedAttention(4, heads=1, reduction=8)
    assert module(torch.rand(2, 1, 3, 4)).isfinite().all()
    full = torch.zeros(2, 8, 8, 4)
    full[:, :1, :3] = x = torch.rand(2, 1, 3, 4)
    torch.testing.assert_close(module._reduced(x), module._reduced(full))


def test_the_feed_forward_network_sees_its_neighbours_and_no_others():
    module = MixFeedForward(4, 16)
    x = torch.rand(1, 7, 7, 4)
    changed = x.clone()
    changed[0, 3, 3] += 1
    seen = (module(x) != module(changed)).any(dim=3)[0]
    assert seen.nonzero().amin(dim=0).tolist() == [2, 2]
    assert seen.nonzero().amax(dim=0).tolist() == [4, 4]


def test_the_first_patches_overlap_and_lie_four_pixels_apart():
    patches = OverlappingPatches(3, 8, kernel=7, stride=4)
    assert patches(torch.rand(1, 3, 61, 83)).shape == (1, 16, 21, 8)


def test_normalisations_have_the_eps_of_the_authors():
    model = sized("b0")
    assert {norm.eps for norm in model.norms} == {1e-6}
    assert model.embeddings[0].norm.eps == model.stages[0][0].attention.norm.eps == 1e-5


@pytest.mark.parametrize(("levels", "strides"), [(1, [32]), (4, [4, 8, 16, 32])])
def test_levels_counts_from_the_deepest(levels, strides):
    assert [level.stride for level in sized("b0", levels=levels).out.pyramid] == strides


def test_stochastic_depth_rises_to_its_rate():
    model = sized("b1", drop_path=0.7)
    rates = [getattr(block.drop, "drop_prob", 0.0) for stage in model.stages for block in stage]
    assert rates == pytest.approx([place / 10 for place in range(8)])


def test_a_tiny_image_passes():
    model = MixTransformer(SOURCE._replace(image_channels=1), size="b0")
    maps = model(Features(torch.rand(1, 1, 5, 7))).pyramid
    assert [tuple(m.shape[2:]) for m in maps] == [(2, 2), (1, 1), (1, 1), (1, 1)]
    assert all(m.is_contiguous() for m in maps)
