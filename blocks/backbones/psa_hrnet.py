"""HRNet with polarized self-attention inside its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from timm.models.resnet import BasicBlock
from torch import nn

from blocks.backbones.timm import Timm
from blocks.contexts.psa import PolarizedSelfAttention
from blocks.features import FeatureMap, Features, Shapes


class PolarizedHRNet(nn.Module):
    """Gate the map between the two convolutions of every basic block of an HRNet, in all of its branches.

    Shape:
        input:  image (N, image_channels, H, W), values in [0, 1]
        output: pyramid of four branches at strides 4, 8, 16 and 32

    Args:
        source: what the network knows about the image.
        model: timm's HRNet; the number is the width of its finest branch, each coarser one is twice as
            wide; published is `hrnet_w48`.
        mode: how the gates of channels and pixels follow each other, see the context psa.
        pretrained: start the convolutions from the weights that timm publishes; the gates start anew.

    Source:
        Liu et al., Polarized Self-Attention: Towards High-quality Pixel-wise Regression, 2021, sec. 4.
        arXiv:2107.00782
        Wang et al., Deep High-Resolution Representation Learning, TPAMI 2020. arXiv:1908.07919

    Deviations:
        None from the authors' code, which gates basic blocks alone: the bottlenecks of the first stage have no gate.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        model: Literal["hrnet_w18_small", "hrnet_w18", "hrnet_w32", "hrnet_w48"] = "hrnet_w18_small",
        mode: Literal["parallel", "sequential"] = "parallel",
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = Timm(source, model=model, pretrained=pretrained)
        for block in [part for part in self.encoder.modules() if isinstance(part, BasicBlock)]:
            # What timm runs between both convolutions; HRNets leave it empty.
            block.aa = PolarizedSelfAttention(FeatureMap(block.conv2.in_channels, 1), mode=mode)
        self.out = self.encoder.out

    def forward(self, f: Features) -> Features:
        given: Features = self.encoder(f)
        return given

    @classmethod
    def fetch(cls, options: Mapping[str, Any]) -> None:
        """Bring pretrained weights into this machine's cache, so that trials find them offline.

        Raises:
            BlockError: there are none, or they cannot be reached.
        """
        Timm.fetch(options)
