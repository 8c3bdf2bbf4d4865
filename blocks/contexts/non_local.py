"""Non-local block: every pixel takes from all others, weighed by how well they match."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.attention import as_map, attend_maps, tokens
from blocks.features import FeatureMap
from blocks.layers import Flanked, conv_norm_act, size_of
from blocks.options import Range, When

Mode = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]


class NonLocalBlock(nn.Module):
    """Add to each pixel a projected mean of the values of all pixels, weighed by pairwise likeness.

    Shape:
        input:  (N, inputs, H, W), any H, W >= 1
        output: (N, inputs, H, W), at first the input

    Args:
        inputs: channels of the map. [count]
        keys: channels of queries, keys and values. [count]
        mode: the likeness, eq. 2 to 5: softmax of products (of projections or of the map itself), products over the
            number of keys, or a rectified linear form of query and key side by side over the number of keys.
        scaled: divide the products of `embedded_gaussian` by the root of `keys` (the code), or not (eq. 3).
        sub_sample: take keys and values from the maxima of 2x2 pixels.
        bias: give the last convolution a bias, which the normalisation behind it undoes.
    """

    def __init__(
        self,
        inputs: int,
        keys: int,
        *,
        mode: Mode = "embedded_gaussian",
        scaled: bool = True,
        sub_sample: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.scale = keys**-0.5 if scaled and mode == "embedded_gaussian" else 1.0
        self.sub_sample = sub_sample
        self.value = nn.Conv2d(inputs, keys, 1)
        self.project = silent_projection(keys, inputs, bias=bias)
        if mode != "gaussian":
            self.query = nn.Conv2d(inputs, keys, 1)
            self.key = nn.Conv2d(inputs, keys, 1)
        if mode == "concatenation":
            self.likeness = nn.Conv2d(2 * keys, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        value = self._sampled(self.value(x))
        if self.mode == "gaussian":
            taken = attend_maps(x, self._sampled(x), value)
        else:
            query, key = self.query(x), self._sampled(self.key(x))
            if self.mode == "embedded_gaussian":
                taken = attend_maps(query, key, value, scale=self.scale)
            elif self.mode == "dot_product":
                taken = multiplied(query, key, value)
            else:
                of_query, of_key = self.likeness.weight.chunk(2, dim=1)
                taken = rectified(F.conv2d(query, of_query), F.conv2d(key, of_key), value)
        added: Tensor = x + self.project(taken)
        return added

    def _sampled(self, x: Tensor) -> Tensor:
        height, width = size_of(x)
        return F.max_pool2d(x, (min(2, height), min(2, width))) if self.sub_sample else x


def multiplied(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Average the values of all keys, weighed by query . key: no softmax, so keys meet values first, in linear time.

    Shape:
        query:  (N, K, H, W)
        key:    (N, K, h, w)
        value:  (N, V, h, w)
        output: (N, V, H, W)

    Args:
        query: who looks.
        key: what is looked at.
        value: what is taken from there.
    """
    # Divided before it is summed: half precision could overflow.
    met = value.flatten(2) @ tokens(key / key[0, 0].numel())
    return (met @ query.flatten(2)).reshape(query.shape[0], -1, *size_of(query))


def rectified(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Average the values of all keys, weighed by relu(query + key), in linear memory.

    The keys that count for a query q are those above -q. With the keys in falling order these come first, and what
    they give, q * sum(values) + sum(keys * values), is read from running sums.

    Shape:
        query:  (N, 1, H, W)
        key:    (N, 1, h, w)
        value:  (N, V, h, w)
        output: (N, V, H, W)

    Args:
        query: what each pixel adds as a query.
        key: what each pixel adds as a key.
        value: what is taken.
    """
    asked = query.flatten(1).float()
    keys, order = key.flatten(1).float().sort(dim=1, descending=True)
    values = tokens(value).float()
    values = values.gather(1, order.unsqueeze(2).expand_as(values))
    sums = torch.cat((values, keys.unsqueeze(2) * values), dim=2).cumsum(dim=1)
    sums = F.pad(sums, (0, 0, 1, 0))  # of no key at all
    counted = torch.searchsorted(-keys.detach(), asked.detach())  # how many keys are above -q
    plain, weighed = sums.gather(1, counted.unsqueeze(2).expand(-1, -1, sums.shape[2])).chunk(2, dim=2)
    mean = (asked.unsqueeze(2) * plain + weighed) / keys.shape[1]
    return as_map(mean.to(value.dtype), size_of(query))


def silent_projection(inputs: int, outputs: int, *, bias: bool = False) -> nn.Sequential:
    """A 1x1 convolution and a normalisation that gives zeros at first: what is added to a map leaves it as it is."""
    project = conv_norm_act(inputs, outputs, bias=bias, act=None)
    nn.init.zeros_(project.get_parameter("1.weight"))
    return project


class NonLocal(nn.Module):
    """Let every pixel take from all others, weighed by how well they match.

    Shape:
        input:  (N, source.channels, H, W), any H, W >= 1
        output: (N, channels, H, W); without flanks (N, source.channels, H, W)

    Args:
        source: the incoming map.
        flanks: the 3x3 convolutions of the published segmentation head: one before and one behind the block, and one
            over the result beside the incoming map. Without them the bare block, as inside a backbone.
        channels: of the block between the flanks, and of the output. [count]
        reduction: how many times narrower queries, keys and values are than the block's map. [ratio]
        mode: how two pixels are matched.
        scale: divide the products by the root of their width.
        sub_sample: take keys and values from the maxima of 2x2 pixels.

    Source:
        Wang et al., Non-local Neural Networks, CVPR 2018, sec. 3. arXiv:1711.07971
        The head: mmsegmentation's NLHead.

    Deviations:
        None from mmcv's block, which scales the products as the authors' code does and equation 3 does not. Products
        without softmax are taken in another order: the same numbers without the matrix of all pairs. Sub-sampling
        leaves a side of one pixel as it is.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: FeatureMap,
        *,
        flanks: bool = True,
        channels: Annotated[int, Range(8, 2048), When("flanks", True)] = 512,
        reduction: Annotated[int, Range(1, 64)] = 2,
        mode: Mode = "embedded_gaussian",
        scale: Annotated[bool, When("mode", "embedded_gaussian")] = True,
        sub_sample: bool = False,
    ) -> None:
        super().__init__()
        width = channels if flanks else source.channels
        block = NonLocalBlock(width, max(1, width // reduction), mode=mode, scaled=scale, sub_sample=sub_sample)
        self.block = Flanked(source.channels, width, block) if flanks else block
        self.out = FeatureMap(width, source.stride)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.block(x)
        return found
