"""Any timm model that offers feature maps, as a backbone."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks.backbones.normalise import per_channel
from blocks.errors import BlockError, law, nearest
from blocks.features import FeatureMap, Features, Shapes
from blocks.options import Check, Range

# HRNet's own feature maps pass through classification convolutions; segmentation uses the branches themselves.
_ARGUMENTS: Mapping[str, Mapping[str, object]] = {"timm.models.hrnet": {"feature_location": ""}}

# Unpadded convolutions (Inception, Xception) lose up to this many cells at a map's border.
_LOST_CELLS = 3


class Timm(nn.Module):
    """Turn an image into the feature pyramid of a timm model.

    The image in [0, 1] is normalised with the statistics that the model was trained with. Models that fix the image
    size are built for the network's; those that need sides divisible by some number get the image padded on the right
    and at the bottom (with the mean colour), and their maps are cropped to ceil(side / stride).

    Shape:
        input:  image (N, image_channels, H, W), values in [0, 1]
        output: pyramid of (N, channels, ~H / stride, ~W / stride), fine to coarse

    Args:
        source: what the network knows about the image.
        model: a name of `timm.list_models()`, with or without the tag of its weights (`resnet18.a1_in1k`).
        output_stride: stride of the deepest map, deeper stages being dilated; 0 keeps the model's own. [px]
        levels: how many of the deepest maps to hand on; 0 takes up to four of stride 4 or more, and of a plain
            transformer, whose maps share one stride, four at even distances. [count]
        pretrained: start from the weights that timm publishes, else from timm's initialisation.
        drop_path: largest rate of stochastic depth, rising linearly from 0 over the blocks. [probability]

    Raises:
        BlockError: no such model, or it cannot serve as asked; with timm's reason.

    Source:
        Wightman, PyTorch Image Models. github.com/huggingface/pytorch-image-models

    Deviations:
        Grey images and a fourth channel are normalised with the mean of the colour channels' statistics; the first
        convolution's weights are adapted to them as timm does.
    """

    version: ClassVar[int] = 1
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        source: Shapes,
        *,
        model: Annotated[str, Check(check_name)] = "resnet18",
        output_stride: Literal[0, 8, 16, 32] = 0,
        levels: Annotated[int, Range(0, 6)] = 0,
        pretrained: bool = False,
        drop_path: Annotated[float, Range(0.0, 0.9)] = 0.0,
    ) -> None:
        super().__init__()
        check_name(model)
        self.name = model
        channels = source.image_channels
        self.plan = _plan(model, output_stride, levels, channels, source.size)
        # Weights have no place on the meta device, where networks are only costed.
        load = pretrained and torch.get_default_device().type != "meta"
        arguments = _arguments(model, self.plan.size, drop_path) | {"output_stride": output_stride}
        self.model = _create(model, channels, arguments, pretrained=load, indices=self.plan.indices)
        self.nhwc = str(getattr(self.model, "output_fmt", "NCHW")).endswith("NHWC")
        self.size = source.size
        statistics = cast(dict[str, Any], self.model.pretrained_cfg)
        self.register_buffer("mean", per_channel(statistics["mean"], channels), persistent=False)
        self.register_buffer("std", per_channel(statistics["std"], channels), persistent=False)
        self.out = source._replace(pyramid=self.plan.pyramid)

    def forward(self, f: Features) -> Features:
        height, width = f.image.shape[-2:]
        if self.plan.size is not None and (height, width) != self.size:
            got = {"size": (height, width), "built_for": self.size}
            raise BlockError(law("This timm model", "the image size it was built for", got, "Build it for this size"))
        image = (f.image - self.mean) / self.std
        if self.plan.multiple > 1:
            image = F.pad(image, (0, -width % self.plan.multiple, 0, -height % self.plan.multiple))
        maps = self.model(image)
        if self.nhwc:
            maps = [m.permute(0, 3, 1, 2).contiguous() for m in maps]
        if self.plan.multiple > 1:
            strides = [level.stride for level in self.plan.pyramid]
            cropped = (m[..., : -(-height // s), : -(-width // s)] for m, s in zip(maps, strides, strict=True))
            maps = [m.contiguous() for m in cropped]
        return f._replace(pyramid=tuple(maps))

    @classmethod
    def fetch(cls, options: Mapping[str, Any]) -> None:
        """Bring pretrained weights into this machine's cache, so that trials find them offline.

        Raises:
            BlockError: there are none, or they cannot be reached.
        """
        if options.get("pretrained"):
            check_name(options["model"])
            _download(options["model"])


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a timm model is to be built and fed at one image size, found out on the meta device."""

    indices: tuple[int, ...]
    pyramid: tuple[FeatureMap, ...]
    multiple: int  # both sides of the image are padded to it
    size: tuple[int, int] | None  # what a model of fixed size is built for


def check_name(model: str) -> None:
    # `hf-hub:` and `local-dir:` names are refused here too: a space file must not name files to load.
    name, _, tag = model.partition(".")
    if not timm.is_model(name):
        known = nearest(name, timm.list_models())
        remedy = known if known.startswith("Did") else "See timm.list_models()"
        raise BlockError(law("The backbone timm", "a model that timm knows", {"model": model}, remedy))
    if tag and model not in (tagged := timm.list_models(f"{name}.*", pretrained=True)):
        raise BlockError(law("The backbone timm", "weights that timm knows", {"model": model}, nearest(model, tagged)))


def _arguments(model: str, size: tuple[int, int] | None, drop_path: float = 0.0) -> dict[str, object]:
    """What this model takes besides what all models take."""
    arguments = dict(_ARGUMENTS.get(timm.models.model_entrypoint(model.partition(".")[0]).__module__, {}))
    if size is not None:
        arguments["img_size"] = size
    if drop_path:
        arguments["drop_path_rate"] = drop_path
    return arguments


def _create(
    model: str,
    channels: int,
    arguments: Mapping[str, object],
    *,
    pretrained: bool = False,
    indices: tuple[int, ...] | None = None,
) -> nn.Module:
    """Build a model; None and a stride of 0 leave the choice to it."""
    given = {name: value for name, value in {**arguments, "out_indices": indices}.items() if value not in (None, 0)}
    if pretrained:
        _check_weights(model)
    try:
        created = timm.create_model(model, pretrained=pretrained, features_only=True, in_chans=channels, **given)
    except Exception as error:  # timm says "not supported" with whatever its layers happen to raise
        if pretrained and not isinstance(error, TypeError | AssertionError | NotImplementedError):
            raise _unreachable(model, error) from error
        raise _cannot(model, given, error) from error
    return cast(nn.Module, created)


def _cannot(model: str, given: Mapping[str, object], error: Exception) -> BlockError:
    got = {"model": model, **given, "reason": " ".join(str(error).split()) or type(error).__name__}
    return BlockError(law("The backbone timm", "a model that serves as asked", got, "Choose another model or options"))


@functools.cache
def _plan(model: str, output_stride: int, levels: int, channels: int, size: tuple[int, int]) -> _Plan:
    """Try the model on the meta device: which maps it gives, and what it needs of the image's sides."""
    tag = timm.models.get_pretrained_cfg(model)
    fixed = bool(tag and tag.fixed_input_size)
    stride = {"output_stride": output_stride}
    # The trial runs draw no random number, so that a network's weights depend on the seed alone.
    with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
        offered = _create(model, channels, _arguments(model, None) | stride)
        info = cast(Any, offered).feature_info.info
        reductions = [int(level["reduction"]) for level in info]
        indices = _indices(model, reductions, levels)
        grain = max(reductions[i] for i in indices)
        failure: BlockError | None = None
        # What is fixed in size drops the last rows unless its sides divide; what is not, may still need it.
        for multiple in (grain, 2 * grain) if fixed else (1, grain, 2 * grain):
            padded = (size[0] + -size[0] % multiple, size[1] + -size[1] % multiple)
            arguments = _arguments(model, padded if fixed else None) | stride
            try:
                pyramid = _measured(model, channels, arguments, indices, padded)
            except BlockError as error:
                failure = failure or error
            else:
                return _Plan(indices, pyramid, multiple, padded if fixed else None)
        assert failure is not None
        raise failure


def _indices(model: str, reductions: list[int], levels: int) -> tuple[int, ...]:
    """Choose the levels to hand on."""
    count = len(reductions)
    if levels > count:
        got = {"levels": levels, "offered": count}
        raise BlockError(
            law(f"The timm model {model}", "as many levels as asked for", got, f"Ask for {count} or fewer")
        )
    if len(set(reductions)) == 1:
        # A plain transformer: every block gives a map of one size; take them at even distances, the last included.
        wanted = levels or min(4, count)
        return tuple((i + 1) * count // wanted - 1 for i in range(wanted))
    if levels:
        return tuple(range(count - levels, count))
    deep = tuple(i for i in range(max(0, count - 4), count) if reductions[i] >= 4)
    return deep or (count - 1,)


def _measured(
    model: str, channels: int, arguments: dict[str, object], indices: tuple[int, ...], size: tuple[int, int]
) -> tuple[FeatureMap, ...]:
    """Run the model on the meta device and hold what it gives against what it declares."""
    built = _create(model, channels, arguments, indices=indices)
    try:
        maps = built.eval()(torch.empty(1, channels, *size))
    except Exception as error:  # shapes that do not fit surface as any exception
        raise _cannot(model, {"size": size}, error) from error
    info = cast(Any, built).feature_info
    nhwc = str(getattr(built, "output_fmt", "NCHW")).endswith("NHWC")
    declared = tuple(FeatureMap(int(c), int(s)) for c, s in zip(info.channels(), info.reduction(), strict=True))
    for found, level in zip(maps, declared, strict=True):
        height, width, depth = found.shape[1:] if nhwc else (*found.shape[2:], found.shape[1])
        lost = max(abs(height - size[0] / level.stride), abs(width - size[1] / level.stride))
        if depth != level.channels or lost > _LOST_CELLS or min(height, width) < 1:
            got = {"map": (depth, height, width), "declared": tuple(level), "size": size}
            raise _cannot(model, got, ValueError("its maps do not follow the image size"))
    return declared


def _check_weights(model: str) -> None:
    if not timm.models.is_model_pretrained(model):
        remedy = "Set pretrained to false or choose another model"
        raise BlockError(law("Pretrained weights", "a model that timm has weights for", {"model": model}, remedy))


def _unreachable(model: str, error: Exception) -> BlockError:
    got = {"model": model, "reason": " ".join(str(error).split())[:300] or type(error).__name__}
    remedy = "Go online once, copy the Hugging Face cache (HF_HOME) to this machine, or set pretrained to false"
    return BlockError(law("Pretrained weights", "the model hub or a cache that holds them", got, remedy))


@functools.cache
def _download(model: str) -> None:
    _check_weights(model)
    try:
        timm.create_model(model, pretrained=True)
    except Exception as error:  # the hub's client raises its own, requests', urllib's and OSError
        raise _unreachable(model, error) from error
