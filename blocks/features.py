"""The value that flows through a network, and its declared twin that is known before any tensor exists."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, overload

from torch import Tensor

from blocks.errors import BlockError, law


class FeatureMap(NamedTuple):
    """Channels and stride of a map. Never height or width: some strides floor, some ceil."""

    channels: int
    stride: int


class Vectors(NamedTuple):
    """Channels of vectors that have no place, and how many there are: one a class, for example."""

    number: int
    channels: int


class Shapes(NamedTuple):
    """What a stage is told about the `Features` it will get.

    Args:
        size: height and width of the image. [px]
        classes: how many classes the logits have. [count]
        image_channels: 1 (grey), 3 (RGB) or 4 (RGB and one more). [count]
        align_corners: how every resize in the network maps corners.
        pyramid: fine to coarse.
        guide: what a context wrote for the align to read.
        map: the one map, after the align.
        coarse: how many coarse logits there are for the loss to supervise. [count]
        taps: by-products that cost nothing; read by losses only.
        vectors: those of them that are no maps.
    """

    size: tuple[int, int]
    classes: int
    image_channels: int = 3
    align_corners: bool = False
    pyramid: tuple[FeatureMap, ...] = ()
    guide: tuple[FeatureMap, ...] = ()
    map: FeatureMap | None = None
    coarse: int = 0
    taps: Mapping[str, FeatureMap] = {}  # not a mapping proxy: networks hold shapes, and are copied and pickled
    vectors: Mapping[str, Vectors] = {}


class Features(NamedTuple):
    """What flows: each stage returns `f._replace(...)`; nothing is stashed on a module.

    Shape:
        image: (N, image_channels, H, W), values in [0, 1]
        pyramid, guide, map: (N, channels, ~H / stride, ~W / stride)
        coarse, logits: (N, classes, h, w)
        taps: as maps
        vectors: (N, number, channels), or (number, channels) where all images share them
    """

    image: Tensor
    pyramid: tuple[Tensor, ...] = ()
    guide: tuple[Tensor, ...] = ()
    map: Tensor | None = None
    coarse: tuple[Tensor, ...] = ()
    logits: Tensor | None = None
    taps: Mapping[str, Tensor] = MappingProxyType({})
    vectors: Mapping[str, Tensor] = MappingProxyType({})


@overload
def current(of: Shapes) -> FeatureMap: ...
@overload
def current(of: Features) -> Tensor: ...
def current(of: Shapes | Features) -> FeatureMap | Tensor:
    """Return the map that a context works on: the aligned one where there is one (`refine`), else the deepest level.

    Raises:
        BlockError: there is neither.
    """
    if of.map is not None:
        return of.map
    if not of.pyramid:
        got = {"map": None, "pyramid": ()}
        raise BlockError(law("A context", "a map to work on", got, "Put a backbone before it"))
    return of.pyramid[-1]


@overload
def replaced(of: Shapes, by: FeatureMap) -> Shapes: ...
@overload
def replaced(of: Features, by: Tensor) -> Features: ...
def replaced(of: Any, by: Any) -> Any:
    """Put another map in the place that `current` takes its from."""
    return of._replace(map=by) if of.map is not None else of._replace(pyramid=(*of.pyramid[:-1], by))


def aligned(source: Shapes) -> FeatureMap:
    """Return the one map that a head reads.

    Raises:
        BlockError: no align has set it.
    """
    if source.map is None:
        got = {"map": None, "pyramid": source.pyramid}
        raise BlockError(law("A head", "the one map that an align sets", got, "Put an align before it, e.g. last"))
    return source.map


class Stage(Protocol):
    """A slot's promise: `__init__(source: Shapes, *, ...)`, a declared `out`, and Features to Features."""

    out: Shapes

    def __call__(self, f: Features, /) -> Features: ...
