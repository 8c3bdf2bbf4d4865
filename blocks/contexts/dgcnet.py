"""Dual graph convolution: one graph of positions, one of feature groups (DGCNet)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from blocks.features import FeatureMap
from blocks.layers import BatchNorm, Flanked, conv_norm_act, resize, size_of
from blocks.options import Range


class CoordinateGraph(nn.Module):
    """Let the positions of a map reason with each other, at an eighth of its size.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, about H / 8, about W / 8), at least 1 each

    Args:
        channels: channels of the map. [count]
        keys: channels of queries, keys and values. [count]
    """

    def __init__(self, channels: int, keys: int) -> None:
        super().__init__()
        halved = (conv_norm_act(channels, channels, 3, stride=2, groups=channels, act=None) for _ in range(3))
        self.down = nn.Sequential(*halved)
        self.key, self.value, self.query = (nn.Conv2d(channels, keys, 1) for _ in range(3))
        self.update = conv_norm_act(keys, keys, act=None)
        self.back = conv_norm_act(keys, channels, bias=True, act=None)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        key, value, query = (project(x).flatten(2) for project in (self.key, self.value, self.query))
        # The softmax is over the channels of q v^T, so no matrix of positions by positions exists.
        gathered = (query @ value.transpose(1, 2)).softmax(dim=2).transpose(1, 2) @ key
        return torch.relu(self.back(self.update(gathered.unflatten(2, size_of(x)))) + x)


class FeatureGraph(nn.Module):
    """Gather a map into nodes of an interaction space, convolve their graph, and hand the nodes back to the pixels.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: channels of the map. [count]
        nodes: nodes of the graph; each has twice as many channels. [count]
    """

    def __init__(self, channels: int, nodes: int) -> None:
        super().__init__()
        self.reduce = conv_norm_act(channels, 2 * nodes, act=None)
        self.assign = conv_norm_act(channels, nodes, act=None)
        self.adjacency = conv_norm_act(nodes, nodes, act=None)
        self.update = conv_norm_act(2 * nodes, 2 * nodes, act=None)
        self.back = nn.Conv2d(2 * nodes, channels, 1, bias=False)
        self.norm = BatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        assigned = self.assign(x).flatten(2)
        states = assigned @ self.reduce(x).flatten(2).transpose(1, 2)  # (N, nodes, 2 * nodes)
        # The paper's I - A is I + A in the code; as A is learned, its sign is too.
        smoothed = (states + self.adjacency(states.unsqueeze(-1)).squeeze(-1)).transpose(1, 2)
        updated = self.update(smoothed.unsqueeze(-1)).squeeze(-1)
        # Projecting a few nodes back to all channels, then to the pixels, costs less than the other way round.
        back = (self.back.weight.flatten(1) @ updated) @ assigned
        return torch.relu(x + self.norm(back.reshape(x.shape)))


class DualGraph(nn.Module):
    """Reason over the positions and over the features of a map, and fuse both.

    Shape:
        input:  (N, channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        channels: channels of the map. [count]
        reduction: channels over nodes of the feature graph. [ratio]
        align_corners: how the graph of positions is resized.
    """

    def __init__(self, channels: int, *, reduction: int = 4, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.features = FeatureGraph(channels, max(1, channels // reduction))
        self.coordinates = CoordinateGraph(channels, max(1, channels // 2))
        self.fuse = conv_norm_act(2 * channels, channels, act=None)

    def forward(self, x: Tensor) -> Tensor:
        local = resize(self.coordinates(x), size_of(x), self.align_corners)
        fused: Tensor = self.fuse(torch.cat([torch.addcmul(x, x, local), self.features(x)], dim=1))
        return fused


class DualGraphContext(nn.Module):
    """Reason over a map as a graph of positions and as a graph of features, then fuse with the incoming map.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W)

    Args:
        source: the incoming map.
        align_corners: how the graph of positions is resized.
        channels: channels of the graphs and of the fused map. [count]
        reduction: channels over nodes of the feature graph. [ratio]

    Source:
        Zhang et al., Dual Graph Convolutional Network for Semantic Segmentation, BMVC 2019, sec. 3. arXiv:1909.06121

    Deviations:
        None from the authors' code, but that it resizes with `align_corners=True`, which the network decides here. The
        code departs from the paper: it adds the convolved graph where the paper subtracts it, and its softmax in the
        graph of positions runs over channels. The auxiliary classifier on a lower level serves training only and is
        left out.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        align_corners: bool = False,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        reduction: Annotated[int, Range(1, 64)] = 4,
    ) -> None:
        super().__init__()
        graphs = DualGraph(channels, reduction=reduction, align_corners=align_corners)
        self.block = Flanked(source.channels, channels, graphs)
        self.out = FeatureMap(channels, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.block(x)
        return fused
