"""ICNet: three resolutions of an image, of which only the coarsest goes through all of the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from blocks.backbones.cut import OutputStride, cut_encoder, half_of, halved
from blocks.backbones.initialise import initialise
from blocks.backbones.timm import Timm, check_name
from blocks.contexts.ppm import PyramidPooling
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import conv_norm_act, resize, size_of
from blocks.options import Check, Range, When

Pooling = Literal["concat", "sum", "none"]

_STRIDE = 8


class LightBranch(nn.Sequential):
    """Three strided 3x3 convolutions.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, ~H / 8, ~W / 8)

    Args:
        inputs: channels of the image. [count]
        outputs: channels that go out; the first two convolutions have half as many. [count]
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        inside = max(1, outputs // 2)
        super().__init__(
            conv_norm_act(inputs, inside, 3, stride=2),
            conv_norm_act(inside, inside, 3, stride=2),
            conv_norm_act(inside, outputs, 3, stride=2),
        )


class SummedPooling(nn.Module):
    """Add to a map its own averages over b x b grids.

    Shape:
        input:  (N, C, H, W), any H, W >= 1
        output: (N, C, H, W)

    Args:
        bins: grid sizes to average over. [cells per side]
        align_corners: how the averages are resized.
    """

    def __init__(self, bins: Sequence[int], *, align_corners: bool) -> None:
        super().__init__()
        self.bins = tuple(bins)
        self.align_corners = align_corners

    def forward(self, x: Tensor) -> Tensor:
        averages = (F.adaptive_avg_pool2d(x, bins) for bins in self.bins)
        return x + sum(resize(average, size_of(x), self.align_corners) for average in averages)


class Icnet(nn.Module):
    """Read an image in full through three convolutions, at half size through the first stages of a timm model.

    The map that these stages give is halved once more and goes on through the later stages and pyramid pooling. The
    cascade that fuses the three maps is the align `cff`; a context module takes the deepest one, as after any backbone.

    Shape:
        input:  image (N, image_channels, H, W), values in [0, 1]
        output: pyramid of the light branch (N, detail, ~H / 8, ~W / 8), the first stages (N, channels, ~H / 16,
            ~W / 16) and the whole model (N, channels, ~H / (4 s), ~W / (4 s)) where its deepest map has stride s

    Args:
        source: what the network knows about the image.
        model: a name of `timm.list_models()`, with or without the tag of its weights, whose stages take any size.
        output_stride: stride of the model's deepest map, deeper stages being dilated; 0 keeps the model's own. [px]
        detail: channels of the light branch. [count]
        channels: of the other two branches. [count]
        pooling: pyramid pooling behind the model: `concat` puts the averages beside the map and fuses with a 3x3
            convolution, `sum` adds them, `none` leaves the context to a module of that slot.
        width: channels of each average and of their fusion. [count]
        bins: grid sizes to average over. [cells per side]
        pretrained: start the model from the weights that timm publishes.

    Raises:
        BlockError: no such model, or it cannot serve as asked; with timm's reason.

    Source:
        Zhao et al., ICNet for Real-Time Semantic Segmentation on High-Resolution Images, ECCV 2018, sec. 3.
        arXiv:1704.08545

    Deviations:
        Followed is mmsegmentation: the half-size branch ends with a whole stage (stride 8 of what it sees), where the
        authors leave the stage after its first block; both have a pointwise convolution of its own, and pyramid pooling
        is concatenated. `sum` is the authors' pooling. Their pruning of half the kernels is left to `model`.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        model: Annotated[str, Check(check_name)] = "resnet50c",
        output_stride: OutputStride = 8,
        detail: Annotated[int, Range(8, 1024)] = 64,
        channels: Annotated[int, Range(8, 2048)] = 256,
        pooling: Pooling = "concat",
        width: Annotated[int, Range(8, 2048), When("pooling", "concat")] = 512,
        bins: Annotated[tuple[int, ...], Range(1, 32), When("pooling", "concat", "sum")] = (1, 2, 3, 6),
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.align_corners = source.align_corners
        self.encoder, self.level = cut_encoder(
            half_of(source), model, output_stride=output_stride, stride=_STRIDE, pretrained=pretrained
        )
        middle, deep = self.encoder.out.pyramid[self.level], self.encoder.out.pyramid[-1]
        self.pool, pooled = _pooling(pooling, deep, width, bins, align_corners=source.align_corners)
        self.light = LightBranch(source.image_channels, detail)
        self.middle = conv_norm_act(middle.channels, channels)
        self.deep = conv_norm_act(pooled, channels)
        for own in (self.pool, self.light, self.middle, self.deep):
            initialise(own)
        strides = (2 * middle.stride, 4 * deep.stride)
        self.out = source._replace(pyramid=(FeatureMap(detail, _STRIDE), *(FeatureMap(channels, s) for s in strides)))

    def forward(self, f: Features) -> Features:
        light = self.light((f.image - self.encoder.mean) / self.encoder.std)
        maps = self.encoder(f._replace(image=halved(f.image, self.align_corners))).pyramid
        return f._replace(pyramid=(light, self.middle(maps[self.level]), self.deep(self.pool(maps[-1]))))

    @classmethod
    def fetch(cls, options: Mapping[str, Any]) -> None:
        """Bring pretrained weights into this machine's cache, so that trials find them offline.

        Raises:
            BlockError: there are none, or they cannot be reached.
        """
        Timm.fetch(options)


def _pooling(
    pooling: Pooling, deep: FeatureMap, width: int, bins: tuple[int, ...], *, align_corners: bool
) -> tuple[nn.Module, int]:
    """Make what pools the deepest map, and say how many channels it gives."""
    if pooling == "concat":
        return PyramidPooling(deep, align_corners, channels=width, bins=bins, branch="full"), width
    pool = SummedPooling(bins, align_corners=align_corners) if pooling == "sum" else nn.Identity()
    return pool, deep.channels
