"""Cross-image pixel contrast."""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from blocks.attention import portion_of
from blocks.features import Features, Shapes, aligned
from blocks.layers import conv_norm_act, size_of
from blocks.losses.cross_entropy import IGNORE
from blocks.losses.memory import ClassMemory
from blocks.losses.named import declared, read
from blocks.options import Range

# Where no similarity is: finite, so that an anchor without negatives has a gradient of zero and not of NaN.
_NONE = -1e9


class ProjectionHead(nn.Module):
    """Project each pixel onto the unit sphere, by two 1x1 convolutions.

    Shape:
        input:  (N, inputs, H, W)
        output: (N, channels, H, W), of length 1 over the channels

    Args:
        inputs: channels that come in. [count]
        channels: of an embedding. [count]
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Sequential(*conv_norm_act(inputs, inputs, bias=True), nn.Conv2d(inputs, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.project(x), dim=1)


class Pixels(NamedTuple):
    """The labelled pixels of a batch, image after image.

    Args:
        embeddings: (M, channels), of length 1.
        labels: (M,), class ids.
        regions: (M,), image * classes + class: the pixels of one class in one image.
        right: (M,), whether the network gives the pixel its label.
    """

    embeddings: Tensor
    labels: Tensor
    regions: Tensor
    right: Tensor


class PixelContrast(nn.Module):
    """Pull embeddings of one class together and push those of others away, within images and across them.

    Each class of each image gives equally many anchors, half of them pixels that the network gets wrong. Anchor i with
    positives p and negatives n loses the mean over p of log(1 + sum_n exp(i.n / t) / exp(i.p / t)), times t / base.
    The projection and the memory are the loss's own. It reads back from the device how many classes there are.

    Shape:
        map:    (N, C, h, w), or another map of the network
        logits: (N, classes, any size)
        labels: (N, H, W), class ids or 255; the nearest ones at h x w count
        output: scalar; 0 while it warms up, and when no class has enough labelled pixels

    Args:
        source: the network's shapes.
        class_weights: not used; every class of an image counts alike.
        weight: factor of this loss in the sum.
        at: what is embedded: `map`, which the head reads, a level of the pyramid (`level_1` is the finest) or a tap.
        channels: of an embedding. [count]
        temperature: t. The smaller, the more the nearest negatives count.
        base_temperature: base.
        max_samples: the most anchors of a batch. [pixels]
        max_views: the most anchors of a class in an image; one with no more pixels gives none. [pixels]
        warmup: for so long the loss is 0, for the network is to see classes first; the authors wait 5000 of 40,000.
            [steps]
        memory_size: the most pixels, and regions, remembered of each class; 0 for no memory. [embeddings]
        memory_pixels: how many pixels of each class of an image are remembered; as a region it is always. [pixels]

    Raises:
        BlockError: no align has set a map, or there is none of the name in `at`.

    Source:
        Wang, Zhou et al., Exploring Cross-Image Pixel Contrast for Semantic Segmentation, ICCV 2021, sec. 3.
        arXiv:2101.11939

    Deviations:
        Anchors meet each other and the memory; the authors' code leaves out the one or the other. Its memory begins
        with random vectors, never holds class 0, takes its pixels from anywhere in the image and overwrites all but
        one of them by the next; here a queue holds the latest pixels of its class, and nothing else. It is not fed
        during the warm-up, of which there is none by default: it would outlast a short training. Only pixels whose
        class is known are anchors; those without a positive do not count.
    """

    version: ClassVar[int] = 1
    steps: Tensor

    def __init__(
        self,
        source: Shapes,
        class_weights: Tensor | None = None,
        *,
        weight: Annotated[float, Range(0.0, 100.0)] = 0.1,
        at: str = "map",
        channels: Annotated[int, Range(1, 4096)] = 256,
        temperature: Annotated[float, Range(0.01, 10.0)] = 0.1,
        base_temperature: Annotated[float, Range(0.01, 10.0)] = 0.07,
        max_samples: Annotated[int, Range(1, 65536)] = 1024,
        max_views: Annotated[int, Range(1, 4096)] = 100,
        warmup: Annotated[int, Range(0, 1_000_000)] = 0,
        memory_size: Annotated[int, Range(0, 100_000)] = 5000,
        memory_pixels: Annotated[int, Range(1, 4096)] = 10,
    ) -> None:
        super().__init__()
        self.weight = weight * temperature / base_temperature
        self.temperature = temperature
        self.samples, self.views = max_samples, max_views
        self.warmup = warmup
        self.memory_pixels = memory_pixels
        self.classes = source.classes
        self.at = at
        embedded = aligned(source) if at == "map" else declared(source, at, giver=" and map")
        self.projection = ProjectionHead(embedded.channels, channels)
        queues = (source.classes, memory_size, channels)
        self.pixel_queue = ClassMemory(*queues) if memory_size else None
        self.region_queue = ClassMemory(*queues) if memory_size else None
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, f: Features, labels: Tensor) -> Tensor:
        x = f.map if self.at == "map" else read(f, self.at)
        assert x is not None and f.logits is not None
        warm = bool(self.steps >= self.warmup)
        if self.training:
            self.steps += 1
        # Nothing of everything: a zero that reaches the map and each parameter, so that no gradient is missing.
        nothing = sum((p.flatten()[:0].sum() for p in self.parameters()), x.flatten()[:0].sum()).float()
        if not warm:
            return nothing
        embeddings = self.projection(x)
        with torch.autocast(embeddings.device.type, enabled=False):
            pixels = self._pixels(embeddings.float(), f.logits, labels)
            chosen = self._anchors(pixels)
            keys = [queue.recall() for queue in (self.pixel_queue, self.region_queue) if queue is not None]
            loss = contrast(pixels.embeddings[chosen], pixels.labels[chosen], keys, self.temperature)
            if self.training:
                self._remember(pixels)
        return nothing + self.weight * loss

    def _pixels(self, embeddings: Tensor, logits: Tensor, labels: Tensor) -> Pixels:
        size = size_of(embeddings)
        labels, predicted = (_nearest(each, size).flatten() for each in (labels, logits.argmax(1)))
        known = (labels != IGNORE).nonzero().squeeze(1)
        regions = known // (size[0] * size[1]) * self.classes + labels[known]
        flat = embeddings.movedim(1, -1).flatten(0, 2)
        return Pixels(flat[known], labels[known], regions, predicted[known] == labels[known])

    def _anchors(self, pixels: Pixels) -> Tensor:
        """Draw the anchors: half of them hard, half easy, where there are as many; else the others fill up."""
        sizes = torch.bincount(pixels.regions)
        easy = torch.bincount(pixels.regions[pixels.right], minlength=len(sizes))
        enough = sizes > self.views
        views = min(max(1, self.samples // max(1, int(enough.sum()))), self.views)
        hard = (views - easy).clamp(min=views // 2).minimum(sizes - easy)
        kept = torch.stack((hard, views - hard), dim=1) * enough.unsqueeze(1)
        kind = 2 * pixels.regions + pixels.right
        return (_ranks(kind) < kept.flatten()[kind]).nonzero().squeeze(1)

    @torch.no_grad()
    def _remember(self, pixels: Pixels) -> None:
        """Enqueue some pixels of each region, and its mean."""
        if self.pixel_queue is None or self.region_queue is None:
            return
        drawn = _ranks(pixels.regions) < self.memory_pixels
        self.pixel_queue.add(pixels.embeddings[drawn], pixels.labels[drawn])
        sizes = torch.bincount(pixels.regions)
        sums = pixels.embeddings.new_zeros(len(sizes), pixels.embeddings.shape[1])
        present = sizes.nonzero().squeeze(1)
        sums = sums.index_add(0, pixels.regions, pixels.embeddings)[present]
        self.region_queue.add(F.normalize(sums, dim=1), present % self.classes)


def contrast(anchors: Tensor, labels: Tensor, memory: list[tuple[Tensor, Tensor]], temperature: float) -> Tensor:
    """Average the contrastive loss of anchors against each other and against what is remembered.

    A portion of them at a time, whose similarities are computed again for the gradient: a memory of 150 classes has
    more than a million keys, which all anchors together cannot meet.

    Args:
        anchors: (A, channels), of length 1.
        labels: (A,), their classes.
        memory: more keys (M, channels) with their classes (M,), which learn nothing.
        temperature: by which similarities are divided.
    """
    if not len(anchors):
        return anchors.sum()
    held = torch.cat([keys for keys, _ in memory]) if memory else anchors[:0].detach()
    classes = torch.cat((labels, *(of for _, of in memory)))
    portion = portion_of(anchors, classes.unsqueeze(1))
    losses, counted = [], []
    for own in torch.split(torch.arange(len(anchors), device=anchors.device), portion):
        found = checkpoint(
            _losses, anchors, own, held, classes, temperature, use_reentrant=False, preserve_rng_state=False
        )
        losses.append(found[0])
        counted.append(found[1])
    return torch.cat(losses).sum() / torch.cat(counted).sum().clamp(min=1)


def _losses(anchors: Tensor, own: Tensor, held: Tensor, classes: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The loss of each of the anchors `own`, and whether it has a positive to be judged by."""
    # The memory apart from the anchors: it needs no gradient, which would be as large as itself.
    similar = torch.cat((anchors[own] @ anchors.T, anchors[own] @ held.T), dim=1) / temperature
    same = classes[own].unsqueeze(1) == classes
    negatives = similar.masked_fill(same, _NONE).logsumexp(1, keepdim=True)
    positive = same.scatter(1, own.unsqueeze(1), False)
    count = positive.sum(1)
    return (F.softplus(negatives - similar) * positive).sum(1) / count.clamp(min=1), count > 0


def _ranks(groups: Tensor) -> Tensor:
    """Put the members of each group (M,) in a random order and number them from 0."""
    order = torch.randperm(len(groups), device=groups.device)
    order = order[groups[order].argsort(stable=True)]
    first = torch.searchsorted(groups[order], groups[order])
    return torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device) - first)


def _nearest(ids: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a map of class ids (N, H, W)."""
    return F.interpolate(ids.unsqueeze(1).float(), size, mode="nearest").squeeze(1).long()
