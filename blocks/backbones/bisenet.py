"""BiSeNet: a shallow path that keeps detail, beside any timm model for context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from torch import nn

from blocks.backbones.initialise import initialise
from blocks.backbones.timm import Timm, check_name
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act
from blocks.options import Check, Range

_INSIDE = 64
_STRIDE = 8


class SpatialPath(nn.Sequential):
    """Three strided convolutions and a pointwise one.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, ~H / 8, ~W / 8)

    Args:
        inputs: channels of the image. [count]
        outputs: channels that go out. [count]
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            conv_norm_act(inputs, _INSIDE, 7, stride=2),
            conv_norm_act(_INSIDE, _INSIDE, 3, stride=2),
            conv_norm_act(_INSIDE, _INSIDE, 3, stride=2),
            conv_norm_act(_INSIDE, outputs),
        )


class Bisenet(nn.Module):
    """Put a spatial path of stride 8 before the deepest maps of a timm model.

    The way up from those, with attention refinement and the global average, and the fusion are the align `ffm`; a
    context module takes the deepest map, as after any backbone.

    Shape:
        input:  image (N, image_channels, H, W), values in [0, 1]
        output: pyramid of the spatial path (N, channels, ~H / 8, ~W / 8) and the deepest `levels` maps of the model

    Args:
        source: what the network knows about the image.
        model: a name of `timm.list_models()` for the context path, with or without the tag of its weights.
        levels: how many of the model's deepest maps follow; BiSeNet refines those at strides 16 and 32. [count]
        channels: of the spatial path. [count]
        pretrained: start the context path from the weights that timm publishes.

    Raises:
        BlockError: no such model, or it cannot serve as asked; with timm's reason.

    Source:
        Yu et al., BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation, ECCV 2018, sec. 3.
        arXiv:1808.00897

    Deviations:
        Followed is the authors' code, whose spatial path opens with a 7x7 convolution and ends with a pointwise one;
        the paper has three of 3x3. Auxiliary classifiers are left to losses.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        model: Annotated[str, Check(check_name)] = "resnet18",
        levels: Annotated[int, Range(1, 3)] = 2,
        channels: Annotated[int, Range(8, 1024)] = 128,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.context = Timm(source, model=model, levels=levels, pretrained=pretrained)
        self.spatial = SpatialPath(source.image_channels, channels)
        initialise(self.spatial)
        self.out = source._replace(pyramid=(FeatureMap(channels, _STRIDE), *self.context.out.pyramid))

    def forward(self, f: Features) -> Features:
        spatial = self.spatial((f.image - self.context.mean) / self.context.std)
        return f._replace(pyramid=(spatial, *self.context(f).pyramid))

    @classmethod
    def fetch(cls, options: Mapping[str, Any]) -> None:
        """Bring pretrained weights into this machine's cache, so that trials find them offline.

        Raises:
            BlockError: there are none, or they cannot be reached.
        """
        Timm.fetch(options)
