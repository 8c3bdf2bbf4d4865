"""GUN: one encoder that sees an image twice, in full and at half its size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from blocks.backbones.cut import OutputStride, half_of, halved
from blocks.backbones.initialise import initialise
from blocks.backbones.timm import Timm, check_name
from blocks.errors import BlockError, law
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, resize, size_of
from blocks.options import Check, Range

Fusion = Literal["sum", "concat"]


class ResolutionFusion(nn.Module):
    """Bring a coarse map to the size of a fine one, join both and convolve them pointwise.

    Shape:
        fine:   (N, inputs, H, W), any H, W >= 1
        coarse: (N, inputs, h, w), any h, w >= 1
        output: (N, outputs, H, W)

    Args:
        inputs: channels of each map. [count]
        outputs: channels that go out. [count]
        fusion: how they are joined: added, or one beside the other.
        align_corners: how the coarse map is resized.
    """

    def __init__(self, inputs: int, outputs: int, *, fusion: Fusion = "sum", align_corners: bool = False) -> None:
        super().__init__()
        self.fusion = fusion
        self.align_corners = align_corners
        self.project = conv_norm_act(inputs if fusion == "sum" else 2 * inputs, outputs)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        coarse = resize(coarse, size_of(fine), self.align_corners)
        joined = fine + coarse if self.fusion == "sum" else torch.cat((fine, coarse), dim=1)
        fused: Tensor = self.project(joined)
        return fused


class Gun(nn.Module):
    """Run a timm model on the image and on its half, with the same weights, and fuse the two deepest maps.

    The half-sized image shows the model more context, the full one more detail. The guided upsampling that follows is
    the align `guided_upsampling`, which reads a finer level of the full image as its guide.

    Shape:
        input:  image (N, image_channels, H, W), values in [0, 1]
        output: pyramid of the model on the full image, its deepest map (N, channels, ~H / stride, ~W / stride) fused
            with that of the half

    Args:
        source: what the network knows about the image.
        model: a name of `timm.list_models()`, with or without the tag of its weights, that takes images of any size.
        output_stride: stride of the deepest map, deeper stages being dilated; 0 keeps the model's own. [px]
        levels: how many of the model's deepest maps to hand on; 0 takes up to four of stride 4 or more. [count]
        fusion: whether the two deepest maps are added or put one beside the other before they are convolved.
        channels: of the fused map. [count]
        pretrained: start the model from the weights that timm publishes.

    Raises:
        BlockError: no such model, it is fixed to one size, or it cannot serve as asked; with timm's reason.

    Source:
        Mazzini, Guided Upsampling Network for Real-Time Semantic Segmentation, BMVC 2018, sec. 3.1. arXiv:1807.07466

    Deviations:
        Unverified: no code of the author is public. The paper's encoder is DRN-D-22, which timm has not; a dilated
        ResNet-18 comes closest. Here the whole model runs at both sizes. What exactly the paper's fusion holds beyond
        resizing and joining is unknown; a pointwise convolution stands for it. Normalisation sees both sizes, one after
        the other, and its running statistics are of both.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        model: Annotated[str, Check(check_name)] = "resnet18",
        output_stride: OutputStride = 8,
        levels: Annotated[int, Range(0, 6)] = 0,
        fusion: Fusion = "sum",
        channels: Annotated[int, Range(8, 2048)] = 512,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.align_corners = source.align_corners
        self.encoder = Timm(source, model=model, output_stride=output_stride, levels=levels, pretrained=pretrained)
        if self.encoder.plan.size is not None:
            got = {"model": model, "built_for": self.encoder.plan.size}
            remedy = "Choose one that takes any size, e.g. a ResNet"
            raise BlockError(law("The backbone gun", "a timm model that sees images of two sizes", got, remedy))
        # The half may have to be padded where the full image has not; padding to the larger number suits both.
        multiple = max(self.encoder.plan.multiple, _multiple(half_of(source), model, output_stride, levels))
        self.encoder.plan = dataclasses.replace(self.encoder.plan, multiple=multiple)
        *finer, deepest = self.encoder.out.pyramid
        self.fuse = ResolutionFusion(deepest.channels, channels, fusion=fusion, align_corners=source.align_corners)
        initialise(self.fuse)
        self.out = source._replace(pyramid=(*finer, FeatureMap(channels, deepest.stride)))

    def forward(self, f: Features) -> Features:
        *finer, deepest = self.encoder(f).pyramid
        half = self.encoder(f._replace(image=halved(f.image, self.align_corners))).pyramid[-1]
        return f._replace(pyramid=(*finer, self.fuse(deepest, half)))

    @classmethod
    def fetch(cls, options: Mapping[str, Any]) -> None:
        """Bring pretrained weights into this machine's cache, so that trials find them offline.

        Raises:
            BlockError: there are none, or they cannot be reached.
        """
        Timm.fetch(options)


def _multiple(source: Shapes, model: str, output_stride: OutputStride, levels: int) -> int:
    """To what the sides of an image are padded for a model."""
    # It is built for its plan alone, and draws no number that belongs to the weights.
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return Timm(source, model=model, output_stride=output_stride, levels=levels).plan.multiple
