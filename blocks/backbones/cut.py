"""Any timm model of which the later stages see a map of half the size."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from blocks.backbones.timm import Timm
from blocks.errors import BlockError, law
from blocks.features import FeatureMap, Features, Shapes
from blocks.layers import resize

OutputStride = Literal[0, 8, 16, 32]

# Of a smaller image the deepest maps have a single cell, and a cut would not show.
_TRIAL = 256


def half_of(source: Shapes) -> Shapes:
    """Tell a stage of the image at half its sides, rounded up."""
    height, width = source.size
    return source._replace(size=(-(-height // 2), -(-width // 2)))


def halved(x: Tensor, align_corners: bool) -> Tensor:
    """Resize an image or a map to half its sides, rounded up."""
    height, width = x.shape[-2:]
    return resize(x, (-(-height // 2), -(-width // 2)), align_corners)


def cut_encoder(
    source: Shapes, model: str, *, output_stride: OutputStride, stride: int, pretrained: bool
) -> tuple[Timm, int]:
    """Build a timm model with a map halved on its way: behind the first level of a stride, which itself stays.

    The stages keep their places and their weights their names: a hook resizes what the one behind the cut is given.
    What the encoder declares holds up to the cut; deeper levels have twice the stride.

    Args:
        source: what the network knows about the image.
        model: a name of `timm.list_models()`.
        output_stride: stride of the deepest map without the cut; 0 keeps the model's own. [px]
        stride: of the image over the last level before the cut, at least. [px]
        pretrained: start from the weights that timm publishes.

    Returns:
        the encoder, and which level of its pyramid is the last one before the cut.

    Raises:
        BlockError: no such model, or it cannot be cut.
    """
    level, multiple = _planned(model, output_stride, source.image_channels, source.size, stride)
    encoder = Timm(source, model=model, output_stride=output_stride, pretrained=pretrained)
    encoder.plan = dataclasses.replace(encoder.plan, multiple=multiple)
    _cut(encoder, level, source.align_corners)
    return encoder, level


@functools.cache
def _planned(
    model: str, output_stride: OutputStride, channels: int, size: tuple[int, int], stride: int
) -> tuple[int, int]:
    """Find out on the meta device behind which level to cut, and to what the image's sides are then padded."""
    # The trial runs draw no random number, so that a network's weights depend on the seed alone.
    with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
        large = (max(_TRIAL, size[0]), max(_TRIAL, size[1]))
        level = _level(Timm(Shapes(large, 1, channels), model=model, output_stride=output_stride), model, stride)
        encoder = Timm(Shapes(size, 1, channels), model=model, output_stride=output_stride).eval()
        _cut(encoder, level, False)
        failure: Exception | None = None
        # A map cut to a few cells may be too small for what comes; the padding gives it whole ones.
        for multiple in (encoder.plan.multiple, 2 * encoder.out.pyramid[-1].stride):
            encoder.plan = dataclasses.replace(encoder.plan, multiple=multiple)
            try:
                encoder(Features(torch.empty(1, channels, *size)))
            except Exception as error:  # what does not fit surfaces as any exception
                failure = error
            else:
                return level, multiple
        assert failure is not None
        raise _uncut(model, failure) from failure


def _level(encoder: Timm, model: str, stride: int) -> int:
    """Try the cut: all maps behind it must halve, and no other."""
    encoder.eval()
    f = Features(torch.empty(1, encoder.out.image_channels, *encoder.size))
    level = _last_before(encoder.out.pyramid, stride)
    if level is None:
        raise _uncut(model, ValueError(f"no level but the deepest has a stride of {stride} or more"))
    whole = encoder(f).pyramid
    try:
        _cut(encoder, level, False)
        cut = encoder(f).pyramid
    except Exception as error:  # what cannot go on at another size surfaces as any exception
        raise _uncut(model, error) from error
    expected = [*whole[: level + 1], *(halved(x, False) for x in whole[level + 1 :])]
    if not all(map(_alike, cut, expected)):
        raise _uncut(model, ValueError("its levels do not follow one from the other"))
    return level


def _last_before(pyramid: Sequence[FeatureMap], stride: int) -> int | None:
    return next((place for place, level in enumerate(pyramid[:-1]) if level.stride >= stride), None)


def _alike(x: Tensor, y: Tensor) -> bool:
    # Some models round down where others round up.
    return all(abs(a - b) <= 1 for a, b in zip(x.shape, y.shape, strict=True))


def _uncut(model: str, error: Exception) -> BlockError:
    got = {"model": model, "reason": " ".join(str(error).split()) or type(error).__name__}
    remedy = "Choose one whose stages follow each other and take any size, e.g. a ResNet"
    return BlockError(law("A cut encoder", "a timm model whose later stages serve at half the size", got, remedy))


def _cut(encoder: Timm, level: int, align_corners: bool) -> None:
    stage = _behind(encoder.model, encoder.plan.indices[level])
    stage.register_forward_pre_hook(partial(_halve_given, nhwc=encoder.nhwc, align_corners=align_corners))


def _halve_given(_: nn.Module, given: tuple[Any, ...], *, nhwc: bool, align_corners: bool) -> tuple[Any, ...]:
    x = given[0].permute(0, 3, 1, 2) if nhwc else given[0]
    x = halved(x, align_corners)
    return (x.permute(0, 2, 3, 1) if nhwc else x, *given[1:])


def _behind(model: nn.Module, index: int) -> nn.Module:
    """Find the module that comes after the one that gives a level."""
    name = str(cast(Any, model).feature_info.info[index]["module"])
    known: dict[str, nn.Module] = dict(model.named_modules())
    # What timm rebuilds has its outer containers unfolded; what it wraps lies inside.
    paths = (name, name.replace(".", "_", 1), f"body.{name}", f"model.{name}")
    for path in paths:
        if path in known and (follower := next(_followers(model, path), None)):
            return known[follower]
    raise LookupError(f"timm names no stage behind {name}")


def _followers(model: nn.Module, path: str) -> Iterator[str]:
    """Name what is defined behind a module: in its parent, in its parent's parent, and so on."""
    while path:
        parent, _, name = path.rpartition(".")
        names = [child for child, _ in model.get_submodule(parent).named_children()]
        yield from (f"{parent}.{child}".lstrip(".") for child in names[names.index(name) + 1 :])
        path = parent
