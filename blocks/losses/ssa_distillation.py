"""The teacher of SSA-Seg's classifier, which sees the ground truth, and what is learned from it."""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blocks.errors import BlockError, law
from blocks.features import Features, Shapes, aligned
from blocks.heads.ssa import SCALE, centre_mlp, cosine_logits
from blocks.layers import resize, size_of
from blocks.losses.cross_entropy import IGNORE, CrossEntropy
from blocks.losses.dice import Dice
from blocks.options import Range

# As the authors' code has it: edges so near the border of the map are none. [px]
_BORDER = 6


class Taught(NamedTuple):
    """What the teacher finds.

    Args:
        logits: (N, classes, H, W).
        semantic: (1, classes, channels), centres of what the classes look like, of the whole batch.
        spatial: (N, classes, channels), centres of where they are in each image.
    """

    logits: Tensor
    semantic: Tensor
    spatial: Tensor


class GuidedClassifier(nn.Module):
    """Classify as the adaptive classifier does, by centres that are taken where the classes truly are.

    What a class looks like is its mean over the batch, where it is its mean over the image; a class that is absent
    keeps its learned centre.

    Shape:
        x, position: (N, channels, H, W)
        labels:      (N, H, W), class ids or 255
        classes, places: (classes, channels), the learned centres
        output:      logits (N, classes, H, W) and the centres

    Args:
        channels: of the map. [count]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.semantic = centre_mlp(channels)
        self.spatial = centre_mlp(channels)
        self.centre = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor, position: Tensor, labels: Tensor, classes: Tensor, places: Tensor) -> Taught:
        looks, sizes = _sums(x, labels, len(classes))
        looks = _means(looks.sum(0, keepdim=True), sizes.sum(0, keepdim=True), classes)
        semantic = self.semantic(torch.cat((looks, classes.expand_as(looks)), dim=2))
        where = _means(_sums(position, labels, len(classes))[0], sizes, places)
        spatial = self.spatial(torch.cat((where, places.expand_as(where)), dim=2))
        return Taught(cosine_logits(x + position, self.centre(semantic + spatial)), semantic, spatial)


class SpatialSemanticDistillation(nn.Module):
    """Train a teacher that sees the ground truth, and let the adaptive classifier learn from it while both are trained.

    The teacher is the loss's own. It learns from the labels; the classifier learns its answers (`response`), how its
    centres relate to each other (`semantic`) and where its classes are (`spatial`). The coarse logits are not judged
    here, as a network's coarse logits are; the authors judge the adapted ones by Dice too: list it as a main loss.

    Shape:
        map, tap `ssa_position`: (N, C, h, w)
        logits: (N, classes, h, w)
        vectors: `ssa_semantic`, `ssa_spatial` (N, classes, C); `ssa_classes`, `ssa_places` (classes, C)
        labels: (N, H, W), class ids or 255; the nearest ones at h x w count but for the teacher's own loss
        output: scalar; 0 when no pixel at h x w is labelled

    Args:
        source: the network's shapes.
        class_weights: (classes,); weighs the teacher's own loss.
        weight: factor of this loss in the sum.
        teacher: factor of the teacher's cross-entropy.
        dice: factor of the teacher's Dice loss.
        response: factor of the cross-entropy to its answers, half of them replaced by the truth; the pixels of a class
            count by the entropy of the answers, and its edges as much as all the rest of it. 0 for none.
        semantic: factor of what centres are closer to others than the teacher's are. 0 for none.
        spatial: factor of the cross-entropy between the spatial centres as distributions. 0 for none.

    Raises:
        BlockError: the network has another head than `ssa`, or `class_weights` does not hold one weight a class.

    Source:
        Ma et al., SSA-Seg: Semantic and Spatial Adaptive Pixel-level Classifier, NeurIPS 2024, sec. 3. arXiv:2405.06525

    Deviations:
        *Unverified*: the authors' Dice loss, which was not found; this is `dice` of the catalogue, at its defaults.
        Edges are found without Canny's filter: the pixels before a change of label to the right or below, and their
        neighbours, which is the same band along straight edges. Labels alone give a loss: without any, the authors'
        centres would still be pulled.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        source: Shapes,
        class_weights: Tensor | None = None,
        *,
        weight: Annotated[float, Range(0.0, 100.0)] = 1.0,
        teacher: Annotated[float, Range(0.01, 100.0)] = 1.0,
        dice: Annotated[float, Range(0.0, 100.0)] = 1.0,
        response: Annotated[float, Range(0.0, 100.0)] = 1.0,
        semantic: Annotated[float, Range(0.0, 100.0)] = 10.0,
        spatial: Annotated[float, Range(0.0, 100.0)] = 0.4,
    ) -> None:
        super().__init__()
        if "ssa_position" not in source.taps or "ssa_semantic" not in source.vectors:
            got = {"taps": tuple(source.taps), "vectors": tuple(source.vectors)}
            raise BlockError(law("The loss ssa_distillation", "the by-products of the head ssa", got, "Use that head"))
        self.weight = weight
        self.response, self.semantic, self.spatial = response, semantic, spatial
        self.align_corners = source.align_corners
        self.teacher = GuidedClassifier(aligned(source).channels)
        self.cross_entropy = CrossEntropy(source.classes, class_weights, weight=teacher)
        self.dice = Dice(source.classes, class_weights, weight=dice)

    def forward(self, f: Features, labels: Tensor) -> Tensor:
        assert f.map is not None and f.logits is not None
        with torch.autocast(f.map.device.type, enabled=False):
            logits, x, position = f.logits.float(), f.map.float(), f.taps["ssa_position"].float()
            found = {name: vectors.float() for name, vectors in f.vectors.items()}
            near = F.interpolate(labels.unsqueeze(1).float(), size_of(x), mode="nearest").squeeze(1).long()
            taught: Taught = self.teacher(x, position, near, found["ssa_classes"], found["ssa_places"])
            whole = resize(taught.logits, size_of(labels), self.align_corners)
            loss: Tensor = self.cross_entropy(whole, labels) + self.dice(whole, labels)
            if self.response:
                loss = loss + self.response * response_loss(logits, taught.logits.detach(), near)
            if self.semantic:
                loss = loss + self.semantic * relation_loss(found["ssa_semantic"], taught.semantic.detach())
            if self.spatial:
                loss = loss + self.spatial * place_loss(found["ssa_spatial"], taught.spatial.detach())
        # Without a label the teacher has the learned centres: nothing to learn from.
        return self.weight * loss * (near != IGNORE).any()


def response_loss(logits: Tensor, taught: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy to the mean of the truth and the teacher's probabilities (N, classes, H, W).

    For each class, weighted means over its pixels on edges and over the others, and the mean of the two; then the mean
    over the classes that the batch holds. The weights are the entropies of the teacher's probabilities.
    """
    classes = logits.shape[1]
    log, soft = logits.log_softmax(1), taught.softmax(1)
    known = labels != IGNORE
    truth = labels.masked_fill(~known, 0)
    loss = -((log * soft).sum(1) + log.gather(1, truth.unsqueeze(1)).squeeze(1)) / 2
    entropy = -(soft * (soft + 1e-12).log()).sum(1) * known
    group = (2 * truth + edges(labels)).flatten()
    zeros = loss.new_zeros(2 * classes)
    mass = zeros.index_add(0, group, entropy.flatten())
    means = zeros.index_add(0, group, (loss * entropy).flatten()) / (mass + 1e-12)
    present = zeros.index_add(0, group, known.flatten().to(loss.dtype)).view(classes, 2).sum(1) > 0
    return (means.view(classes, 2).mean(1) * present).sum() / present.sum().clamp(min=1)


def relation_loss(centres: Tensor, taught: Tensor) -> Tensor:
    """How much closer each centre (N, classes, channels) is to each other one than the teacher's is."""
    other = 1 - torch.eye(centres.shape[1], device=centres.device)
    return ((_relations(centres) - _relations(taught)).clamp(min=0) * other).sum(2).mean()


def place_loss(centres: Tensor, taught: Tensor) -> Tensor:
    """Cross-entropy of the centres (N, classes, channels) to the teacher's, as distributions over the channels."""
    return -(centres.log_softmax(2) * taught.softmax(2)).sum(2).mean()


def edges(labels: Tensor) -> Tensor:
    """Find where labels (N, H, W) change: True in a band three pixels wide."""
    here = labels[:, :-1, :-1]
    change = ((here != labels[:, :-1, 1:]) | (here != labels[:, 1:, :-1])).float()
    inner = torch.zeros_like(labels, dtype=change.dtype)
    inner[:, _BORDER:-_BORDER, _BORDER:-_BORDER] = 1
    return F.max_pool2d(F.pad(change, (0, 1, 0, 1)) * inner, 3, 1, 1) > 0


def _relations(centres: Tensor) -> Tensor:
    """How centres (N, classes, channels) share themselves out among each other; the others are taken as fixed."""
    unit = F.normalize(centres, dim=2)
    return (SCALE * unit @ unit.detach().transpose(1, 2)).softmax(2)


def _sums(x: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Sums of a map over the pixels of each class (N, classes, channels) and their counts (N, classes, 1)."""
    images = torch.arange(len(x), device=x.device).view(-1, 1, 1)
    # Pixels without a label make a class of their own, which is cut off.
    group = (images * (classes + 1) + labels.masked_fill(labels == IGNORE, classes)).flatten()
    pixels = x.movedim(1, -1).flatten(0, 2)
    sums = pixels.new_zeros(len(x) * (classes + 1), x.shape[1]).index_add(0, group, pixels)
    counts = pixels.new_zeros(len(x) * (classes + 1)).index_add(0, group, torch.ones_like(pixels[:, 0]))
    return sums.view(len(x), classes + 1, -1)[:, :-1], counts.view(len(x), classes + 1, 1)[:, :-1]


def _means(sums: Tensor, counts: Tensor, otherwise: Tensor) -> Tensor:
    return torch.where(counts > 0, sums / counts.clamp(min=1), otherwise.detach())
