"""Class augmented, class channel and region shuffle attention (HMANet)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.attention import attend_maps, cells, cropped, interleaved, joined, padded, phases
from blocks.features import FeatureMap, Features, Shapes, current, replaced
from blocks.layers import conv_norm_act, size_of
from blocks.options import Range, When

Parts = Literal["caa", "caa+cca", "rsa", "caa+rsa", "caa+cca+rsa"]
_CLASSES = ("caa", "caa+cca", "caa+rsa", "caa+cca+rsa")
_REPRESENTATION = 4  # a region is looked at as at most so many averages a side


class ClassChannelAttention(nn.Module):
    """Weigh the classes in an affinity of channels to classes by how much of each class the image shows.

    Shape:
        affinity: (N, C, K)
        share:    (N, K), of each class in the image
        output:   (N, C, K), adds up to 1 over the classes

    Args:
        classes: K. [count]
        expansion: hidden width for each class. [count]
    """

    def __init__(self, classes: int, expansion: int) -> None:
        super().__init__()
        self.grow = nn.Linear(classes, expansion * classes)
        self.shrink = nn.Linear(expansion * classes, classes)

    def forward(self, affinity: Tensor, share: Tensor) -> Tensor:
        weight: Tensor = self.shrink(self.grow(share)).unsqueeze(1)
        return (affinity * weight + affinity).softmax(dim=2)


class ClassAugmentedAttention(nn.Module):
    """Rebuild the map from the classes seen at each pixel and the affinity of channels to classes.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: the map (N, outputs, H, W) and logits (N, classes, H, W)

    Args:
        inputs: channels of the map. [count]
        outputs: channels that go out. [count]
        classes: how many classes the logits have. [count]
        keys: channels whose affinity to the classes is taken. [count]
        expansion: of the class channel attention, or 0 for none. [count]
        rectified: normalise and rectify the logits.
    """

    def __init__(
        self, inputs: int, outputs: int, classes: int, *, keys: int, expansion: int, rectified: bool = False
    ) -> None:
        super().__init__()
        self.reduce = conv_norm_act(inputs, outputs, 3)
        self.classify = conv_norm_act(outputs, classes) if rectified else nn.Conv2d(outputs, classes, 1)
        self.project = conv_norm_act(outputs, keys)
        self.up = conv_norm_act(keys, outputs)
        self.fuse = conv_norm_act(2 * outputs, outputs)
        self.channel = ClassChannelAttention(classes, expansion) if expansion else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.reduce(x)
        logits: Tensor = self.classify(x)
        share = logits.flatten(2).softmax(dim=1)
        affinity = (self.project(x).flatten(2) @ share.transpose(1, 2)).softmax(dim=2)
        if self.channel is not None:
            affinity = self.channel(affinity, share.mean(dim=2))
        context = (affinity @ share).unflatten(2, size_of(x))
        return self.fuse(torch.cat([self.up(context), x], dim=1)), logits


class RegionAttention(nn.Module):
    """Let pixels look at averages of their own region, or of the pixels at their place in all regions.

    Shape:
        x:      (N, inputs, H, W), any H, W >= 1
        region: height and width of a region [px]
        output: (N, inputs, H, W)

    Args:
        inputs: channels of the map. [count]
        keys: width of queries, keys and values. [count]
        shuffled: look across the regions instead of within.
    """

    def __init__(self, inputs: int, keys: int, *, shuffled: bool) -> None:
        super().__init__()
        self.scale = keys**-0.5
        self.shuffled = shuffled
        self.query = conv_norm_act(inputs, keys)
        self.key = conv_norm_act(inputs, keys)
        self.value = conv_norm_act(inputs, keys)
        self.up = conv_norm_act(keys, inputs)

    def forward(self, x: Tensor, region: tuple[int, int]) -> Tensor:
        query, key, value = (padded(layer(x), region) for layer in (self.query, self.key, self.value))
        grid = (query.shape[2] // region[0], query.shape[3] // region[1])
        cut, join = partial(cells, grid=grid), partial(joined, grid=grid)
        if self.shuffled:
            cut, join = partial(phases, steps=region), partial(interleaved, steps=region)
        size = grid if self.shuffled else region
        seen = (min(_REPRESENTATION, size[0]), min(_REPRESENTATION, size[1]))
        key, value = (F.adaptive_avg_pool2d(cut(y), seen) for y in (key, value))
        context = join(attend_maps(cut(query), key, value, scale=self.scale))
        added: Tensor = x + self.up(cropped(context, size_of(x)))
        return added


class RegionShuffleAttention(nn.Module):
    """Look within the regions of a map, shuffle it so that each new region holds a place of every old one, look again.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, outputs, H, W)

    Args:
        inputs: channels of the map. [count]
        outputs: channels that go out. [count]
        keys: width of queries, keys and values. [count]
        regions: how many there are at most, where the map has so many pixels. [count per side]
    """

    def __init__(self, inputs: int, outputs: int, *, keys: int, regions: int) -> None:
        super().__init__()
        self.regions = regions
        self.reduce = conv_norm_act(inputs, outputs)
        self.within = RegionAttention(outputs, keys, shuffled=False)
        self.across = RegionAttention(outputs, keys, shuffled=True)

    def forward(self, x: Tensor) -> Tensor:
        height, width = (-(-side // self.regions) for side in size_of(x))
        looked: Tensor = self.reduce(x)
        for look in (self.within, self.across):
            looked = look(looked, (height, width))
        return looked


class HybridAttention(nn.Module):
    """Attend to classes, with their channels weighed, and to regions, side by side; then fuse.

    Shape:
        map:    (N, C, H, W), any H, W >= 1, becomes (N, channels, H, W)
        coarse: one more, (N, classes, H, W), unless `parts` is rsa

    Args:
        source: what the network has computed so far.
        parts: which of class augmented (caa), class channel (cca) and region shuffle attention (rsa) take part.
        channels: channels of each branch and of the output. [count]
        keys: channels that classes are compared with; width of queries, keys and values of regions. [count]
        expansion: hidden width of the class channel attention for each class: 150 are 12 thousand parameters with 6
            classes, 0.1 million with 19, 6.8 million with 150. [count]
        variant: logits of the class map by a plain classifier (`paper`), or normalised and rectified (`code`, a third
            party's).
        regions: of the region shuffle attention, at most. [count per side]

    Source:
        Niu et al., Hybrid Multiple Attention Network for Semantic Segmentation in Aerial Images, TGRS 2021, sec. III.
        arXiv:2001.02870

    Deviations:
        Unverified: no code of the authors was found. The layers of class augmented and class channel attention follow
        third-party code, but for the classifier. Region shuffle attention is our reading: pixels look at 4x4 averages,
        first of their region, then of the pixels at their place in all regions, where zeros complete the last ones;
        both branches are concatenated and fused by a 1x1 convolution.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        parts: Parts = "caa+cca+rsa",
        channels: Annotated[int, Range(8, 2048)] = 512,
        keys: Annotated[int, Range(8, 1024)] = 256,
        expansion: Annotated[int, Range(1, 256), When("parts", "caa+cca", "caa+cca+rsa")] = 150,
        variant: Annotated[Literal["paper", "code"], When("parts", *_CLASSES)] = "paper",
        regions: Annotated[int, Range(1, 64), When("parts", "rsa", "caa+rsa", "caa+cca+rsa")] = 8,
    ) -> None:
        super().__init__()
        width, stride = current(source)
        self.classes = self.regions = self.fuse = None
        if "caa" in parts:
            self.classes = ClassAugmentedAttention(
                width,
                channels,
                source.classes,
                keys=keys,
                expansion=expansion if "cca" in parts else 0,
                rectified=variant == "code",
            )
        if "rsa" in parts:
            self.regions = RegionShuffleAttention(width, channels, keys=keys, regions=regions)
        if self.classes and self.regions:
            self.fuse = conv_norm_act(2 * channels, channels)
        coarse = source.coarse + (self.classes is not None)
        self.out = replaced(source, FeatureMap(channels, stride))._replace(coarse=coarse)

    def forward(self, f: Features) -> Features:
        x, maps, coarse = current(f), [], f.coarse
        if self.classes is not None:
            y, logits = self.classes(x)
            maps, coarse = [y], (*coarse, logits)
        if self.regions is not None:
            maps.append(self.regions(x))
        y = maps[0] if self.fuse is None else self.fuse(torch.cat(maps, dim=1))
        return replaced(f, y)._replace(coarse=coarse)
