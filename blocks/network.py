"""The assembled network: backbone -> context -> align -> refine -> head, and its supervision in training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast, get_type_hints

import torch.nn.functional as F
from torch import Tensor, nn

from blocks.architecture import Architecture, Component
from blocks.catalogue import completed, component, component_type
from blocks.errors import BlockError, law
from blocks.features import FeatureMap, Features, Shapes, Stage, current, replaced
from blocks.layers import resize, size_of
from blocks.options import supplied

CROSS_ENTROPY = Component("cross_entropy")


class Network(nn.Module):
    """Build what an architecture says and run it from image to logits.

    Shape:
        input:  (N, image_channels, H, W), values in [0, 1]
        output: (N, classes, H, W)

    Args:
        architecture: one component per slot; what is left out takes its default.
        size: height and width of the images; some backbones are fixed to it. [px]
        classes: how many classes the logits have. [count]
        image_channels: 1 (grey), 3 (RGB) or 4 (RGB and one more). [count]

    Raises:
        BlockError: a component does not exist or cannot be built as asked; the message names its slot.
    """

    shapes: Shapes

    def __init__(
        self, architecture: Architecture, *, size: tuple[int, int], classes: int, image_channels: int = 3
    ) -> None:
        super().__init__()
        self.architecture = completed(architecture)
        self.shapes = image_shapes(size, classes, image_channels, architecture.align_corners)
        self.stages = nn.ModuleDict()
        for slot, choice in self.architecture.slots():
            stage = build_stage(slot, choice, self.shapes)
            self.stages[slot] = stage
            self.shapes = cast(Stage, stage).out

    def features(self, image: Tensor) -> Features:
        """Run every stage; the logits stay at the head's own stride."""
        features = Features(image)
        for stage in self.stages.values():
            features = stage(features)
        return features

    def forward(self, image: Tensor) -> Tensor:
        return _resize(_logits(self.features(image)), image, self.shapes.align_corners)


class Supervised(nn.Module):
    """A network and the losses that train it: what checkpoints, DDP and `torch.compile` wrap.

    Shape:
        input:  image (N, image_channels, H, W) in [0, 1]; labels (N, H, W), class ids, 255 where nothing is known
        output: one scalar per loss, weighted; their sum is what is minimised

    Args:
        network: what is trained.
        main: losses on the logits.
        coarse: losses on each of the coarse logits, where the network has any.
        auxiliary: losses on what else the network gives; what only they need is theirs and no part of the network.
        class_weights: (classes,), handed to every loss that weighs classes.

    Raises:
        BlockError: a loss does not exist, does not take its options, or reads what the network does not give.
    """

    def __init__(
        self,
        network: Network,
        *,
        main: Sequence[Component] = (CROSS_ENTROPY,),
        coarse: Sequence[Component] = (CROSS_ENTROPY,),
        auxiliary: Sequence[Component] = (),
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        shapes = network.shapes
        coarse = coarse if shapes.coarse else ()
        used = {"main": main, "coarse": coarse, "auxiliary": auxiliary}
        self._names = [f"{key}.{c.name}" for key, losses in used.items() for c in losses]
        self.main = nn.ModuleList(_loss("loss", c, shapes.classes, class_weights) for c in main)
        self.coarse = nn.ModuleList(_loss("loss", c, shapes.classes, class_weights) for c in coarse)
        self.auxiliary = nn.ModuleList(_loss("auxiliary", c, shapes, class_weights) for c in auxiliary)

    def forward(self, image: Tensor, labels: Tensor) -> dict[str, Tensor]:
        features = self.network.features(image)
        corners = self.network.shapes.align_corners
        # Losses are taken in float32 whatever the autocast: the sums run over every pixel.
        logits = _resize(_logits(features).float(), labels, corners)
        coarse = [_resize(c.float(), labels, corners) for c in features.coarse]
        values = [criterion(logits, labels) for criterion in self.main]
        values += [sum(criterion(c, labels) for c in coarse) for criterion in self.coarse]
        values += [loss(features, labels) for loss in self.auxiliary]
        losses: dict[str, Tensor] = {}
        for name, value in zip(self._names, values, strict=True):
            # One loss may be listed twice with different options; it then shows up as their sum.
            losses[name] = losses[name] + value if name in losses else value
        return losses


class Lifted(nn.Module):
    """Turn a method that maps one map to one map into a stage.

    Shape:
        input:  Features
        output: Features with the deepest level (`context`) or the aligned map (`refine`) replaced

    Args:
        source: what reaches the stage.
        block: the method, with its declared `out`.
    """

    def __init__(self, source: Shapes, *, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.out = replaced(source, cast(FeatureMap, block.out))

    def forward(self, f: Features) -> Features:
        return replaced(f, self.block(current(f)))


class Guided(nn.Module):
    """Let an align that reads no guide see what a context wrote there: added to the deepest levels, one by one.

    Shape:
        input:  Features
        output: Features as the align gives them, the pyramid as it came

    Args:
        source: what reaches the stage: guides of the channels of the deepest levels.
        align: the align, with its declared `out`.
    """

    def __init__(self, source: Shapes, *, align: nn.Module) -> None:
        super().__init__()
        self.align = align
        self.corners = source.align_corners
        self.out = cast(Stage, align).out

    def forward(self, f: Features) -> Features:
        fine = len(f.pyramid) - len(f.guide)
        levels = zip(f.pyramid[fine:], f.guide, strict=True)
        guided = [x + resize(guide, size_of(x), self.corners) for x, guide in levels]
        read: Features = self.align(f._replace(pyramid=(*f.pyramid[:fine], *guided)))
        return read._replace(pyramid=f.pyramid)


def fetch(architecture: Architecture) -> None:
    """Bring the weights that building this network would load into this machine's cache; once is enough.

    Raises:
        BlockError: there are none, or they cannot be reached.
    """
    choice = completed(architecture).backbone
    # Only backbones that can load weights have it.
    if (bring := getattr(component_type("backbone", choice.name), "fetch", None)) is not None:
        bring(dict(choice.options))


def untrained(architecture: Architecture) -> Architecture:
    """The same network without the weights that it would begin with: for who measures it, or has others for it."""
    options = dict(architecture.backbone.options)
    if not options.get("pretrained"):
        return architecture
    backbone = Component.of(architecture.backbone.name, {**options, "pretrained": False})
    return dataclasses.replace(architecture, backbone=backbone)


def image_shapes(size: tuple[int, int], classes: int, image_channels: int, align_corners: bool) -> Shapes:
    """What the first stage is told.

    Raises:
        BlockError: a size or a count that no network can have.
    """
    height, width = size
    if min(height, width) < 1 or classes < 1 or image_channels not in (1, 3, 4):
        got = {"size": (height, width), "classes": classes, "image_channels": image_channels}
        raise BlockError(law("A network", "a size and classes above 0, and 1, 3 or 4 image channels", got, "Change it"))
    return Shapes((height, width), classes, image_channels, align_corners)


def build_stage(slot: str, choice: Component, source: Shapes) -> nn.Module:
    """Build the component of a slot, giving it what it asks for by name; a map-to-map method comes back lifted.

    Raises:
        BlockError: it cannot be built as asked; the message names the slot.
    """
    kind = component_type(slot, choice.name)
    options = dict(choice.options)
    try:
        if get_type_hints(kind.__init__).get("source") is FeatureMap:  # type: ignore[misc]
            return Lifted(source, block=kind(*_supply(kind, slot, source, _given_map(slot, source)), **options))
        stage = cast(nn.Module, kind(*_supply(kind, slot, source, source), **options))
        # Only aligns that read the guide themselves say so.
        unread = slot == "align" and source.guide and not getattr(kind, "guided", False)
        return Guided(source, align=stage) if unread else stage
    except BlockError as error:
        raise BlockError(f"{slot} {choice.name}: {error}") from error


def _supply(kind: type, slot: str, shapes: Shapes, source: Shapes | FeatureMap) -> list[object]:
    """Look up the parameters before the `*` by their names."""
    known: dict[str, object] = {
        "source": source,
        "align_corners": shapes.align_corners,
        "classes": shapes.classes,
        "size": shapes.size,
    }
    asked = supplied(kind)
    if unknown := [name for name in asked if name not in known]:
        remedy = "Make the others keyword-only options with a default"
        raise BlockError(
            law(f"A {slot}", f"parameters before its `*` among {', '.join(known)}", {"asked": unknown}, remedy)
        )
    return [known[name] for name in asked]


def _given_map(slot: str, source: Shapes) -> FeatureMap:
    """The map that a map-to-map method receives in this slot."""
    if slot in {"context", "refine"}:
        return current(source)
    raise BlockError(law("A method from one map to one map", "the slot context or refine", {"slot": slot}, "Move it"))


def _loss(slot: str, choice: Component, about: Shapes | int, class_weights: Tensor | None) -> nn.Module:
    """Build a loss: a criterion is told the number of classes, an auxiliary loss all that the network gives."""
    full = component(slot, choice.name, dict(choice.options))
    kind: Any = component_type(slot, full.name)
    try:
        return cast(nn.Module, kind(about, class_weights, **dict(full.options)))
    except BlockError as error:
        raise BlockError(f"{slot} {choice.name}: {error}") from error


def _logits(features: Features) -> Tensor:
    if features.logits is None:
        raise BlockError(law("A head", "to set the logits", {"logits": None}, "Return f._replace(logits=...)"))
    return features.logits


def _resize(logits: Tensor, like: Tensor, align_corners: bool) -> Tensor:
    return F.interpolate(logits, like.shape[-2:], mode="bilinear", align_corners=align_corners)
