"""What may mix the places of a map in CGRSeg's calibration instead of rectangular attention: its paper's rivals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from timm.models.inception_next import InceptionDWConv2d
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.attention import attend_maps
from blocks.layers import conv_norm_act, relu, size_of


class SelfAttention(nn.Module):
    """Give each pixel the mean of all, weighed by softmax(query . key).

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        reduction: channels over the width of queries and keys. [ratio]
    """

    def __init__(self, channels: int, *, reduction: int = 8) -> None:
        super().__init__()
        keys = max(1, channels // reduction)
        self.scale = keys**-0.5
        self.query = nn.Conv2d(channels, keys, 1)
        self.key = nn.Conv2d(channels, keys, 1)
        # Nothing projects the means: the calibration's own network follows.
        self.value = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return attend_maps(self.query(x), self.key(x), self.value(x), scale=self.scale)


class CoordinateAttention(nn.Module):
    """Weigh each pixel by what its row and its column say of each channel (Hou et al., CVPR 2021).

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        reduction: channels over the width between means and weights. [ratio]
        least: of that width. [count]
    """

    def __init__(self, channels: int, *, reduction: int = 32, least: int = 8) -> None:
        super().__init__()
        hidden = max(least, channels // reduction)
        self.squeeze = conv_norm_act(channels, hidden, bias=True, act=nn.Hardswish)
        self.rows = nn.Conv2d(hidden, channels, 1)
        self.columns = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = torch.cat([x.mean(dim=3), x.mean(dim=2)], dim=2)
        rows, columns = self.squeeze(means[..., None]).split(size_of(x), dim=2)
        weighed: Tensor = x * self.rows(rows).sigmoid() * self.columns(columns.transpose(2, 3)).sigmoid()
        return weighed


class GatherExcite(nn.Module):
    """Weigh each pixel by what strided depthwise convolutions gather around it (GE-theta, Hu et al., NeurIPS 2018).

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: of the map. [count]
        halvings: convolutions in a row, each of stride 2; three gather an extent of 8. [count]
    """

    def __init__(self, channels: int, *, halvings: int = 3) -> None:
        super().__init__()
        self.gather = nn.Sequential()
        for place in range(halvings):
            last = place == halvings - 1
            self.gather.append(
                conv_norm_act(channels, channels, 3, stride=2, groups=channels, act=None if last else relu)
            )

    def forward(self, x: Tensor) -> Tensor:
        return x * F.interpolate(self.gather(x), size_of(x)).sigmoid()


def inception(channels: int) -> nn.Module:
    """Depthwise convolutions of three shapes, each of an eighth of the channels; the rest passes (InceptionNeXt)."""
    mixer: nn.Module = InceptionDWConv2d(channels, branch_ratio=max(1 / 8, 1 / channels))
    return mixer


def depthwise(channels: int, *, kernel: int = 7) -> nn.Module:
    """One large depthwise convolution (ConvNeXt)."""
    return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)


RIVALS: Mapping[str, Callable[[int], nn.Module]] = {
    "self_attention": SelfAttention,
    "conv_next": depthwise,
    "inception_next": inception,
    "coordinate": CoordinateAttention,
    "gather_excite": GatherExcite,
}
