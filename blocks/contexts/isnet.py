"""Image-level and semantic-level context (ISNet)."""

from __future__ import annotations

from typing import Annotated, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.attention import as_map, attend, attend_maps, tokens
from blocks.contexts.ocr import two_convs
from blocks.features import FeatureMap, Features, Shapes, current, replaced
from blocks.layers import conv_norm_act, size_of
from blocks.options import Range


class ImageLevelContext(nn.Module):
    """Let each pixel look at all pixels, which know the mean of the image.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, inputs, H, W)

    Args:
        inputs: channels of the map. [count]
        keys: width of queries, keys and values. [count]
    """

    def __init__(self, inputs: int, keys: int) -> None:
        super().__init__()
        self.scale = keys**-0.5
        self.key = two_convs(2 * inputs, keys)
        self.query = two_convs(inputs, keys)
        self.value = conv_norm_act(2 * inputs, keys)
        self.up = conv_norm_act(keys, inputs)
        self.fuse = conv_norm_act(2 * inputs, inputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)
        first, second = self.key
        key: Tensor = second(_beside(first, mean, x))
        value = _beside(self.value, mean, x)
        context = self.up(attend_maps(self.query(x), key, value, scale=self.scale))
        fused: Tensor = self.fuse(torch.cat([x, context], dim=1))
        return fused


def _beside(layers: nn.Module, mean: Tensor, x: Tensor) -> Tensor:
    """Run 1x1 convolution, normalisation and activation on mean and map, concatenated, without repeating the mean."""
    conv, norm, act = cast(nn.Sequential, layers)
    of_mean, of_x = cast(nn.Conv2d, conv).weight.chunk(2, dim=1)
    y: Tensor = act(norm(F.conv2d(x, of_x) + F.conv2d(mean, of_mean)))
    return y


class SemanticLevelContext(nn.Module):
    """Let each pixel look at all pixels, described by the mean of the class that each was given.

    A pixel belongs to the class of its largest logit, and weighs in that class's mean by a softmax of these logits over
    the class's pixels.

    Shape:
        x:           (N, inputs, H, W), any H, W >= 1
        coarse:      logits (N, K, H, W) of any K classes
        image_level: (N, inputs, H, W), what `ImageLevelContext` gave
        output:      (N, inputs, H, W)

    Args:
        inputs: channels of the map. [count]
        keys: width of queries, keys and values. [count]
    """

    def __init__(self, inputs: int, keys: int) -> None:
        super().__init__()
        self.scale = keys**-0.5
        self.key = two_convs(inputs, keys)
        self.query = two_convs(inputs, keys)
        self.value = conv_norm_act(inputs, keys)
        self.up = conv_norm_act(keys, inputs)
        self.fuse = conv_norm_act(2 * inputs, inputs, 3)

    def forward(self, x: Tensor, coarse: Tensor, image_level: Tensor) -> Tensor:
        means, member = class_means(x, coarse)
        key, value = self._described(means, member, size_of(x))
        # All pixels of a class have one key: their shares of a softmax over pixels add up to that of one key whose
        # logit is larger by the logarithm of their number. A class without pixels has -inf.
        count = member.sum(dim=2, keepdim=True).transpose(1, 2)
        query = tokens(self.query(x))
        context = attend(query, key, value, scale=self.scale, bias=count.log().to(query.dtype))
        context = self.up(as_map(context, size_of(x)))
        fused: Tensor = self.fuse(torch.cat([image_level, context], dim=1))
        return fused

    def _described(self, means: Tensor, member: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Key and value of each class: (N, K, keys)."""
        if not self.training:
            classes = as_map(means, (means.shape[1], 1))
            return tokens(self.key(classes)), tokens(self.value(classes))
        # Normalisation has to see each mean as often as pixels have it; any of these then speaks for the class.
        pixels = as_map(member.transpose(1, 2) @ means, size)
        share = member / member.sum(dim=2, keepdim=True).clamp_min(1)
        return share @ tokens(self.key(pixels)), share @ tokens(self.value(pixels))


def class_means(x: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
    """Average the pixels that were given to each class; what a class without pixels has is finite and means nothing.

    Shape:
        x:      (N, C, H, W)
        coarse: logits (N, K, H, W)
        output: means (N, K, C) and, of that type, who belongs where (N, K, H * W): 0 or 1

    Args:
        x: the map.
        coarse: a pixel is of the class whose logit is largest, and weighs by a softmax over the class's pixels.
    """
    logits = coarse.flatten(2)
    every = torch.arange(logits.shape[1], device=logits.device)[:, None]
    member = logits.argmax(dim=1, keepdim=True) == every
    weight = logits.masked_fill(~member, torch.finfo(logits.dtype).min).softmax(dim=2)
    return weight @ tokens(x), member.to(weight.dtype)


class IntegratedContext(nn.Module):
    """Join what a pixel finds in the whole image with what it finds in the means of predicted classes.

    Shape:
        map:    (N, C, H, W), any H, W >= 1, becomes (N, channels, H, W)
        coarse: one more, (N, classes, H, W)

    Args:
        source: what the network has computed so far.
        channels: channels of the pixels' features and of the output. [count]
        keys: width of queries, keys and values. [count]
        dropout: of whole channels before the coarse classifier. [probability]

    Source:
        Jin et al., ISNet: Integrate Image-Level and Semantic-Level Context for Semantic Segmentation, ICCV 2021,
        sec. 3. arXiv:2108.12382

    Deviations:
        None in numbers: where the authors loop over images and classes, and let pixels of one class be looked at one by
        one, each class is looked at once, with a weight for its size. The low-level features that some of their
        networks add afterwards are the align's.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        *,
        channels: Annotated[int, Range(8, 2048)] = 512,
        keys: Annotated[int, Range(8, 1024)] = 256,
        dropout: Annotated[float, Range(0.0, 0.9)] = 0.1,
    ) -> None:
        super().__init__()
        width, stride = current(source)
        self.reduce = conv_norm_act(width, channels, 3)
        self.image_level = ImageLevelContext(channels, keys)
        self.coarse = nn.Sequential(
            conv_norm_act(channels, channels), nn.Dropout2d(dropout), nn.Conv2d(channels, source.classes, 1)
        )
        self.semantic_level = SemanticLevelContext(channels, keys)
        self.out = replaced(source, FeatureMap(channels, stride))._replace(coarse=source.coarse + 1)

    def forward(self, f: Features) -> Features:
        x = self.reduce(current(f))
        coarse = self.coarse(x)
        joined = self.semantic_level(x, coarse, self.image_level(x))
        return replaced(f, joined)._replace(coarse=(*f.coarse, coarse))
