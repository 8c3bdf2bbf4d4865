"""Counting on the meta device, against recorded figures, by hand, and against a real device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from blocks.architecture import Architecture, Component
from blocks.cost import Cost, cost_of, cost_of_module
from blocks.heads.ssa import AdaptiveClassifier
from blocks.measure import measure
from blocks.meta import Shortcuts
from blocks.network import Network

REFERENCE = Path(__file__).parents[2] / "../shared/reference"


def recorded(file: str) -> object:
    if not (REFERENCE / file).exists():
        pytest.skip("the reference figures do not lie beside this repository")
    return json.loads((REFERENCE / file).read_text())


def block(name: str) -> dict:
    return next(each for each in recorded("blocks.json") if each["name"] == name)


def plain(model: str, **slots: Component) -> Architecture:
    options = {"model": model} | ({"output_stride": 8} if slots.pop("dilated", False) else {})
    return Architecture(backbone=Component.of("timm", options), **slots)


class TestRecordedFigures:
    def check(self, module: nn.Module, facts: dict) -> None:
        with torch.device("meta"):
            cost = cost_of_module(module, torch.empty(facts["input_shape"][0]))
        assert cost.macs_conv == facts["macs_conv_linear"]
        assert cost.macs - cost.macs_conv == facts["macs_attention"]
        assert cost.params == facts["params_trainable"]

    def test_semantic_and_spatial_adaptive_classifier(self):
        facts = block("ssa_classifier")
        with torch.device("meta"):
            module = AdaptiveClassifier(256, 150)
        self.check(module, facts)

    def test_torchvision_aspp(self):
        from torchvision.models.segmentation.deeplabv3 import ASPP

        with torch.device("meta"):
            module = ASPP(512, [12, 24, 36], 128)
        self.check(module, block("aspp_torchvision"))

    def test_fcn_on_hrnet(self):
        """The head, written out: all branches concatenated, two 1x1 convolutions."""
        facts = next(f for f in recorded("published.json")["measured_whole_models"] if f["network"] == "fcn_hr18")
        head = nn.Sequential(nn.Conv2d(270, 270, 1, bias=False), nn.BatchNorm2d(270), nn.Conv2d(270, 150, 1))
        on_head = cost_of_module(head, torch.zeros(1, 270, 128, 128))
        # A linear head on the branches' own map is what cost_of counts besides the backbone.
        cost = cost_of(plain("hrnet_w18"), size=(512, 512), classes=150)
        linear = cost_of_module(nn.Conv2d(144, 150, 1), torch.zeros(1, 144, 16, 16))
        assert cost.params - linear.params + on_head.params == facts["params"]
        assert (cost.macs - linear.macs + on_head.macs) / 1e9 == pytest.approx(facts["gmacs_conv_linear"], abs=6e-4)


class TestByHand:
    def test_a_convolution_and_its_padding(self):
        conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, groups=1, bias=True)
        image = torch.zeros(1, 3, 10, 10)
        assert cost_of_module(conv, image) == Cost(8 * 27 + 8, 8 * 27 * 25, 8 * 27 * 25, 3 * 100 * 4)

    def test_groups_and_transposition(self):
        assert cost_of_module(nn.Conv2d(8, 8, 3, padding=1, groups=8), torch.zeros(1, 8, 5, 5)).macs == 8 * 9 * 25
        assert cost_of_module(nn.ConvTranspose2d(8, 4, 2, stride=2), torch.zeros(1, 8, 5, 5)).macs == 8 * 4 * 4 * 25

    @pytest.mark.parametrize("shape", [(6, 16), (2, 3, 16), (1, 2, 3, 16)])
    @pytest.mark.parametrize("bias", [False, True])
    def test_a_linear_layer_counts_as_one_in_any_number_of_dimensions(self, shape, bias):
        cost = cost_of_module(nn.Linear(16, 5, bias=bias), torch.zeros(shape))
        assert cost.macs == cost.macs_conv == 6 * 16 * 5

    def test_attention_is_counted_apart(self):
        attention = nn.MultiheadAttention(64, 4, batch_first=True)
        x = torch.zeros(2, 10, 64, requires_grad=True)
        cost = cost_of_module(attention, x, x, x)
        assert cost.macs_conv == 2 * 10 * 64 * 64 * 4
        assert cost.macs - cost.macs_conv == 2 * 2 * 10 * 10 * 64

    def test_pooling_resizing_and_padding_are_free(self):
        class Free(nn.Module):
            def forward(self, x):
                x = F.interpolate(F.adaptive_avg_pool2d(F.pad(x, (1, 2, 3, 4)), 3), (9, 9), mode="bilinear")
                return F.grid_sample(x, torch.zeros(1, 4, 4, 2), align_corners=False)

        assert cost_of_module(Free(), torch.zeros(1, 2, 8, 8)).macs == 0

    def test_what_autograd_keeps_is_counted_once(self):
        """Two branches read one input; the ReLU's output is the next one's input: three maps in all, and the image."""

        class Branches(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem, self.left, self.right = (nn.Conv2d(4, 4, 1) for _ in range(3))

            def forward(self, x):
                x = self.stem(x).relu()
                return self.left(x).sigmoid() + self.right(x).sigmoid()

        assert cost_of_module(Branches(), torch.zeros(1, 4, 8, 8)).activation_bytes == 4 * (4 * 64 * 4)

    def test_the_module_keeps_its_mode(self):
        module = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.Dropout()))
        module[1].eval()
        cost_of_module(module, torch.zeros(1, 3, 2, 2))
        assert [m.training for m in module.modules()] == [True, True, False, False]


ARCHITECTURES = [
    plain("resnet18"),
    plain("mobilenetv3_small_100", context=Component("psa"), align=Component("bilinear")),
    plain("pvt_v2_b0", context=Component("aspp"), align=Component("ifa"), head=Component("ssa")),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.backbone["model"])
@pytest.mark.parametrize("size", [(64, 96), (61, 83)])
def test_meta_counts_what_a_real_run_does(architecture, size):
    network = Network(architecture, size=size, classes=7)
    real = cost_of_module(network, torch.rand(1, 3, *size))
    counted = cost_of(architecture, size=size, classes=7)
    assert (counted.params, counted.macs, counted.macs_conv) == (real.params, real.macs, real.macs_conv)
    assert counted.params == sum(p.numel() for p in network.parameters())
    assert counted.macs >= counted.macs_conv > 0
    assert counted.activation_bytes > 0


def test_classes_size_and_channels_change_the_cost():
    base = cost_of(plain("resnet18"), size=(64, 64), classes=7)
    assert cost_of(plain("resnet18"), size=(64, 64), classes=8).params == base.params + 512 + 1
    assert cost_of(plain("resnet18"), size=(128, 64), classes=7).macs == 2 * base.macs
    grey = cost_of(plain("resnet18"), size=(64, 64), classes=7, image_channels=1)
    assert base.params - grey.params == 2 * 64 * 49


def test_nothing_is_allocated():
    architecture = plain("resnet50", dilated=True, context=Component("ppm"), align=Component("bilinear"))
    cost = cost_of(architecture, size=(512, 1024), classes=19)
    assert cost.params > 4e7
    with torch.device("meta"):
        network = Network(architecture, size=(512, 1024), classes=19)
    assert {t.device.type for t in (*network.parameters(), *network.buffers())} == {"meta"}


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("pspnet_r50", Component("ppm")),
        ("deeplabv3_r50", Component.of("aspp", {"channels": 512, "rates": (12, 24, 36), "fuse_kernel": 3})),
    ],
)
def test_whole_networks_count_what_was_published(name, context):
    facts = next(f for f in recorded("published.json")["measured_whole_models"] if f["network"] == name)
    cost = cost_of(
        plain("resnet50c", dilated=True, context=context), size=tuple(facts["input"]), classes=facts["classes"]
    )
    assert cost.params == facts["params"]
    assert cost.macs_conv / 1e9 == pytest.approx(facts["gmacs_conv_linear"], abs=6e-4)
    assert cost.macs / 1e9 == pytest.approx(facts["gmacs_total"], abs=6e-3)


class TestMeasuring:
    def test_on_the_cpu(self):
        network = Network(plain("test_resnet"), size=(64, 64), classes=5)
        found = measure(network, size=(64, 64), image_channels=3, device="cpu", repeats=5)
        own = sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))
        assert found.latency_ms > 0
        assert own + 3 * 64 * 64 * 4 < found.peak_memory_bytes < own + 100 * 64 * 64 * 4
        assert network.training

    def test_peak_memory_follows_the_live_tensors(self):
        """Ten maps one after the other hold two at a time; kept, they add up."""

        class Chain(nn.Module):
            def __init__(self, keep: bool):
                super().__init__()
                self.keep = keep

            def forward(self, x):
                kept = []
                for _ in range(10):
                    x = x + 1
                    kept += [x] if self.keep else []
                return x

        size, one = (100, 100), 100 * 100 * 3 * 4
        short, long = (
            measure(Chain(keep), size=size, image_channels=3, device="cpu", repeats=3).peak_memory_bytes
            for keep in (False, True)
        )
        assert short == one + 2 * one
        assert long == one + 10 * one

    def test_a_larger_batch_needs_more(self):
        network = Network(plain("test_resnet"), size=(64, 64), classes=5)
        one, four = (
            measure(network, size=(64, 64), image_channels=3, device="cpu", repeats=3, batch=n).peak_memory_bytes
            for n in (1, 4)
        )
        assert four > 1.5 * one

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_on_a_gpu(self):
        network = Network(plain("resnet18"), size=(256, 256), classes=5)
        found = measure(network, size=(256, 256), image_channels=3, device="cuda")
        on_cpu = measure(network, size=(256, 256), image_channels=3, device="cpu", repeats=3)
        assert 0 < found.latency_ms < 1000
        assert 0.5 < found.peak_memory_bytes / on_cpu.peak_memory_bytes < 3


@pytest.mark.parametrize(
    "model", ["resnet18", "mobilenetv3_small_050", "efficientnet_b0", "convnext_atto", "pvt_v2_b0"]
)
@pytest.mark.parametrize(
    "context", ["none", pytest.param("psa", marks=pytest.mark.slow), pytest.param("aspp", marks=pytest.mark.slow)]
)
def test_counting_in_parts_is_counting_the_whole_network(model, context):
    # `cost_of` counts a backbone once for all networks that have it, and takes shortcuts on the meta device.
    architecture = Architecture(
        backbone=Component.of("timm", {"model": model}),
        context=Component(context),
        align=Component("ifa"),
        head=Component("ssa"),
    )
    with torch.device("meta"):
        network, image = Network(architecture, size=(64, 96), classes=7), torch.empty(1, 3, 64, 96)
    for _ in range(2):
        assert cost_of(architecture, size=(64, 96), classes=7) == cost_of_module(network, image)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x + x,
        lambda x: x - 2 * x,
        lambda x: x / 3,
        lambda x: x / x,
        lambda x: x * x[:1],
        lambda x: x + x[..., :1],
        lambda x: x / (x.sum(dim=2, keepdim=True) + 1e-12),
        lambda x: x[:, :1] * x,
        lambda x: x + x.new_empty(10),
        lambda x: x[..., :1].contiguous() * x[:, :, :1].contiguous(),
        lambda x: x.transpose(-1, -2) + x.transpose(-1, -2),
        lambda x: x.transpose(-1, -2) + 1.5,
        lambda x: x + torch.ones_like(x, dtype=torch.float64),
        lambda x: x.clamp_min(1e-6),
        lambda x: F.normalize(x, dim=1),
        lambda x: F.normalize(x, dim=-1),
        lambda x: torch.linalg.vector_norm(x, dim=(-1, -2)),
        lambda x: F.linear(x.reshape(-1, x.shape[-1]), x.reshape(-1, x.shape[-1]), x[0, 0, 0, 0].expand(48)),
    ],
)
def test_arithmetic_has_the_shapes_types_and_strides_that_it_has_without_shortcuts(operation):
    image = torch.empty(2, 3, 8, 10, device="meta")
    for x in (image, image.to(memory_format=torch.channels_last), image.half(), image.int(), image[..., ::2]):
        try:
            expected = operation(x)
        except RuntimeError:  # no norm of integers
            with pytest.raises(RuntimeError), Shortcuts():
                operation(x)
            continue
        with Shortcuts():
            found = operation(x)
        assert (found.shape, found.dtype, found.stride()) == (expected.shape, expected.dtype, expected.stride())


def test_the_shortcuts_answer_as_the_meta_device_does():
    layers = [
        nn.BatchNorm2d(3).eval(),
        nn.Hardswish(inplace=True),
        nn.Hardsigmoid(),
        nn.Upsample(size=(9, 11), mode="bilinear"),
    ]
    image = torch.empty(2, 3, 8, 10, device="meta")
    for layer in layers:
        for x in (image, image.to(memory_format=torch.channels_last), image.half()):
            on_meta = layer.to("meta", x.dtype)
            expected = on_meta(x)
            with Shortcuts():
                found = on_meta(x)
            assert (found.shape, found.dtype, found.stride()) == (expected.shape, expected.dtype, expected.stride())
