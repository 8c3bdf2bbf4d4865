"""The timm backbone: families, sizes, statistics, weights, and what it says when a model cannot serve."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise

import pytest
import timm
import torch

from blocks.architecture import Architecture, Component
from blocks.backbones.timm import Timm
from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes
from blocks.network import Network, fetch

# One model of each way in which timm differs from itself: hooks, getters, NHWC, fixed sizes, sides that must divide.
FAMILIES = (
    *("resnet18", "resnet50c", "res2net50_26w_4s", "regnety_002", "densenet121", "dla34", "xception41"),
    *("mobilenetv3_small_100", "mobilenetv4_conv_small", "efficientnet_b0", "mobilevit_xxs", "ghostnet_100"),
    *("convnext_atto", "hrnet_w18_small", "pvt_v2_b0", "swin_tiny_patch4_window7_224", "efficientformerv2_s0"),
    *("vit_tiny_patch16_224", "vit_small_patch14_dinov2", "levit_128", "maxvit_nano_rw_256", "vgg11", "shvit_s1"),
)
# Valid for what is built here; smaller than any model's own input.
ODD = (97, 131)


def backbone(size=ODD, *, image_channels=3, **options) -> Timm:
    return Timm(Shapes(size, 5, image_channels), **options)


def strides(model: Timm) -> list[int]:
    return [level.stride for level in model.out.pyramid]


@pytest.mark.parametrize("model", [*FAMILIES[:8], *(pytest.param(m, marks=pytest.mark.slow) for m in FAMILIES[8:])])
@pytest.mark.parametrize("size", [ODD, pytest.param((120, 160), marks=pytest.mark.slow)], ids=str)
def test_every_family_gives_what_it_declares(model, size):
    with torch.device("meta"):
        built = backbone(size, model=model)
        given = built(Features(torch.empty(2, 3, *size)))
        gradients = torch.autograd.grad(sum(m.mean() for m in given.pyramid), list(built.parameters()))
    assert len(given.pyramid) == len(built.out.pyramid) <= 4
    for (channels, stride), tensor in zip(built.out.pyramid, given.pyramid, strict=True):
        assert tensor.shape[:2] == (2, channels)
        assert all(abs(cells - side / stride) < 1 for cells, side in zip(tensor.shape[2:], size, strict=True))
        assert tensor.is_contiguous()
    assert all(a.stride <= b.stride for a, b in pairwise(built.out.pyramid))
    assert len(gradients) == len(list(built.parameters()))


@pytest.mark.parametrize(
    "model", ["resnet18", "swin_tiny_patch4_window7_224", "hrnet_w18_small", "efficientformerv2_s0"]
)
def test_it_runs_for_real_at_odd_sizes(model):
    built = backbone(model=model).eval()
    given = built(Features(torch.rand(1, 3, *ODD)))
    assert all(m.isfinite().all() for m in given.pyramid)


def test_hrnet_gives_its_branches():
    """The recorded parameters of FCN on HRNet-W18 are those of the branches and a head of 114,090."""
    with torch.device("meta"):
        built = backbone((512, 512), model="hrnet_w18")
    assert built.out.pyramid == (FeatureMap(18, 4), FeatureMap(36, 8), FeatureMap(72, 16), FeatureMap(144, 32))
    assert sum(p.numel() for p in built.parameters()) == 9_676_350 - 114_090


def test_a_plain_transformer_gives_four_blocks_at_even_distances():
    with torch.device("meta"):
        built = backbone(model="vit_tiny_patch16_224")
    assert built.plan.indices == (2, 5, 8, 11)
    assert strides(built) == [16] * 4


@pytest.mark.parametrize(("stride", "expected"), [(0, [4, 8, 16, 32]), (16, [4, 8, 16, 16]), (8, [4, 8, 8, 8])])
def test_output_stride_dilates(stride, expected):
    built = backbone((96, 128), model="resnet18", output_stride=stride)
    given = built(Features(torch.rand(1, 3, 96, 128)))
    assert strides(built) == expected
    assert given.pyramid[-1].shape[2:] == (96 // expected[-1], 128 // expected[-1])


@pytest.mark.parametrize(("levels", "expected"), [(1, [32]), (3, [8, 16, 32]), (5, [2, 4, 8, 16, 32])])
def test_levels_counts_from_the_deepest(levels, expected):
    assert strides(backbone(model="resnet18", levels=levels)) == expected


def test_drop_path_acts_in_training_alone():
    built = backbone((64, 64), model="test_resnet", drop_path=0.9)
    f = Features(torch.rand(8, 3, 64, 64))
    assert torch.equal(built.eval()(f).pyramid[-1], built(f).pyramid[-1])
    drops = [m for m in built.modules() if type(m).__name__ == "DropPath"]
    assert max(m.drop_prob for m in drops) == pytest.approx(0.9)


@pytest.mark.parametrize("model", ["resnet18", "mobilenetv3_small_100", "convnext_atto", "vit_tiny_patch16_224"])
def test_drop_path_rises_over_the_blocks(model):
    with torch.device("meta"):
        built = backbone((64, 64), model=model, drop_path=0.3)
    rates = [m.drop_prob for m in built.modules() if type(m).__name__ == "DropPath" and m.drop_prob]
    assert rates == sorted(rates)
    assert len(rates) >= 7
    assert 0.25 < rates[-1] <= 0.3001, "some count blocks that are left out here"


@pytest.mark.parametrize("model", ["vgg11", "densenet121"])
def test_a_model_without_drop_path_says_so(model):
    with torch.device("meta"), pytest.raises(BlockError, match=r"serves as asked: got.*drop_path_rate=0\.3"):
        backbone((64, 64), model=model, drop_path=0.3)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_image_is_normalised_with_the_models_statistics(channels):
    built = backbone((64, 64), image_channels=channels, model="vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    assert built.mean.flatten().tolist() == [0.5] * channels
    assert built.std.flatten().tolist() == [0.5] * channels
    colour = backbone((64, 64), image_channels=channels, model="resnet18").mean.flatten()
    average = sum((0.485, 0.456, 0.406)) / 3
    expected = {1: [average], 3: [0.485, 0.456, 0.406], 4: [0.485, 0.456, 0.406, average]}[channels]
    torch.testing.assert_close(colour, torch.tensor(expected))


def test_it_is_timm_s_own_model():
    """Same seed, same numbers as timm's model on the normalised image; the statistics stay out of the weights."""
    torch.manual_seed(0)
    built = backbone(model="resnet18").eval()
    torch.manual_seed(0)
    theirs = timm.create_model("resnet18", features_only=True, out_indices=(1, 2, 3, 4)).eval()
    image = torch.rand(1, 3, *ODD)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for ours, expected in zip(built(Features(image)).pyramid, theirs((image - mean) / std), strict=True):
        torch.testing.assert_close(ours, expected)
    assert set(built.state_dict()) == {f"model.{key}" for key in theirs.state_dict()}


def test_padding_changes_nothing_where_none_is_needed():
    torch.manual_seed(0)
    odd = backbone(model="hrnet_w18_small").eval()
    torch.manual_seed(0)
    even = backbone((128, 160), model="hrnet_w18_small").eval()
    image = torch.rand(1, 3, *ODD)
    filled = odd.mean.expand(1, 3, 128, 160).clone()
    filled[..., : ODD[0], : ODD[1]] = image
    whole = even(Features(filled)).pyramid
    for cropped, full in zip(odd(Features(image)).pyramid, whole, strict=True):
        torch.testing.assert_close(cropped, full[..., : cropped.shape[2], : cropped.shape[3]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "resnet81"}, r"a model that timm knows: got model='resnet81'. Did you mean 'resnet\d+'"),
        ({"model": "hf-hub:someone/something"}, "a model that timm knows"),
        ({"model": "local-dir:/tmp/x"}, "a model that timm knows"),
        ({"model": "resnet18.a9_in1k"}, r"weights that timm knows: got .* Did you mean 'resnet18.a\d_in1k'"),
        ({"model": "convit_tiny"}, "a model that serves as asked: got model='convit_tiny'"),
        ({"model": "nest_tiny"}, "reason='Model only handles square inputs'"),
        ({"model": "densenet121", "output_stride": 8}, "output_stride=8.*output_stride"),
        ({"model": "ghostnet_100", "output_stride": 16}, "dilation not supported"),
        ({"model": "ghostnet_100", "drop_path": 0.1}, "drop_path_rate"),
        ({"model": "shvit_s1", "levels": 4}, "as many levels as asked for: got levels=4, offered=3"),
    ],
)
def test_a_model_that_cannot_serve_says_why(options, message):
    with pytest.raises(BlockError, match=message):
        backbone(**options)


def test_a_model_of_fixed_size_refuses_another():
    built = backbone((128, 160), model="efficientformerv2_s0")
    with pytest.raises(BlockError, match=r"the image size it was built for: got size=\(64, 64\)"):
        built(Features(torch.rand(1, 3, 64, 64)))


class TestPretrained:
    """Run in a process of its own: the hub's client reads its environment once, at import."""

    def offline(self, code: str, home: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @pytest.mark.slow
    def test_weights_fetched_before_are_found_offline(self, tmp_path):
        torch.manual_seed(7)
        source = timm.create_model("test_resnet")
        where = tmp_path / "hub" / ("models--" + source.pretrained_cfg["hf_hub_id"].replace("/", "--"))
        snapshot = where / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (where / "refs").mkdir()
        (where / "refs" / "main").write_text("0" * 40)
        pytest.importorskip("safetensors.torch").save_file(source.state_dict(), snapshot / "model.safetensors")
        code = (
            "import torch\n"
            "from blocks.architecture import Architecture, Component\n"
            "from blocks.network import Network, fetch\n"
            "backbone = Component.of('timm', {'model': 'test_resnet', 'pretrained': True})\n"
            "architecture = Architecture(backbone=backbone)\n"
            "fetch(architecture)\n"
            "network = Network(architecture, size=(64, 64), classes=5, image_channels=1)\n"
            "print(float(network.stages['backbone'].model.conv1[0].weight.sum()))\n"
        )
        done = self.offline(code, tmp_path)
        assert done.returncode == 0, done.stderr
        # One channel sees the sum of what three channels saw.
        assert float(done.stdout) == pytest.approx(source.conv1[0].weight.sum().item(), rel=1e-4)

    @pytest.mark.slow
    @pytest.mark.parametrize("act", ["fetch(a)", "Network(a, size=(64, 64), classes=5)"])
    def test_weights_out_of_reach_name_the_model_and_the_remedy(self, act, tmp_path):
        code = (
            "from blocks.architecture import Architecture, Component\n"
            "from blocks.errors import BlockError\n"
            "from blocks.network import Network, fetch\n"
            "a = Architecture(backbone=Component.of('timm', {'model': 'test_resnet', 'pretrained': True}))\n"
            f"try:\n    {act}\nexcept BlockError as error:\n    print(error)\n"
        )
        done = self.offline(code, tmp_path)
        assert done.returncode == 0, done.stderr
        assert (
            "Pretrained weights needs the model hub or a cache that holds them: got model='test_resnet'" in done.stdout
        )
        assert "set pretrained to false" in done.stdout

    def test_the_meta_device_needs_no_weights(self):
        with torch.device("meta"):
            backbone(model="test_resnet", pretrained=True)

    def test_a_model_without_weights_is_refused_before_anything_is_built(self):
        nameless = next(name for name in timm.list_models() if not timm.models.is_model_pretrained(name))
        chosen = Component.of("timm", {"model": nameless, "pretrained": True})
        with pytest.raises(BlockError, match="a model that timm has weights for"):
            fetch(Architecture(backbone=chosen))

    def test_without_pretrained_nothing_is_fetched(self):
        fetch(Architecture(backbone=Component.of("timm", {"model": "test_resnet"})))
        assert isinstance(Network(Architecture(backbone=Component("timm")), size=(64, 64), classes=2), Network)
