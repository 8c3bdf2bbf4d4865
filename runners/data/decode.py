"""Pixels of images and labels: decode them, and say which file is wrong."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from blocks.errors import DataError, law
from runners.data.contract import IGNORE, UnreadableError

ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What image files end in, in lower case."""

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_MOST = 65_535  # labels have up to sixteen bits
_UNLISTED = 254  # at most 254 classes, so this id is free to mark a value that is no class


@dataclass(frozen=True, slots=True)
class Coding:
    """How a label file says which class a pixel has.

    Args:
        ids: the value of each class in the file, or its (red, green, blue).
        ignore: values that are turned into 255.
        strict: whether a value that is neither is an error; otherwise it is ignored too.
        variable: what a MATLAB file calls its labels; others have one picture.
    """

    ids: tuple[int, ...] | tuple[tuple[int, int, int], ...]
    ignore: tuple[int, ...] = (IGNORE,)
    strict: bool = True
    variable: str = ""

    @property
    def coloured(self) -> bool:
        return isinstance(self.ids[0], tuple)


def resized(image: Tensor, label: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Bring a sample to a size: the image bilinear with anti-aliasing, the label to its nearest pixel."""
    if tuple(label.shape) == tuple(size):
        return image.contiguous(), label
    nearest = InterpolationMode.NEAREST_EXACT
    return (
        transforms.resize(image, list(size), antialias=True).contiguous(),
        transforms.resize(label[None], list(size), interpolation=nearest)[0],
    )


def read_image(path: Path, subject: str, *, channels: int) -> Tensor:
    """Decode an image to (channels, H, W), uint8.

    Raises:
        DataError: it cannot be read, has more than 8 bits a channel, or lacks the fourth channel.
    """
    return image_pixels(_open(path, subject), subject, path, channels=channels)


def image_pixels(picture: Image.Image, subject: str, where: Path | str, *, channels: int) -> Tensor:
    """Turn an open image into (channels, H, W), uint8.

    Args:
        picture: the image.
        subject: who is speaking in an error.
        where: the image's file, or what its sample is called.
        channels: 1, 3 or 4. [count]

    Raises:
        DataError: it has more than 8 bits a channel, or lacks the fourth channel.
    """
    if picture.mode.startswith(("I", "F")):
        got = {"mode": picture.mode, **_at(where)}
        raise DataError(law(subject, "8 bits a channel", got, "Convert the image"))
    if channels == 4 and picture.mode != "RGBA":
        got = {"mode": picture.mode, **_at(where)}
        raise DataError(law(subject, "images of four channels (RGBA)", got, "Set channels to what they have"))
    if picture.mode != _MODES[channels]:
        picture = picture.convert(_MODES[channels])
    # np.array, not asarray: torch wants memory it may write to.
    pixels = torch.from_numpy(np.array(picture))
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1)


def read_label(path: Path, subject: str, coding: Coding) -> Tensor:
    """Decode a label to (H, W), uint8: ids from 0, 255 = ignore.

    Raises:
        DataError: it cannot be read, or holds values that are no class.
    """
    if coding.variable:
        values = _matlab(path, subject, coding.variable)
    else:
        values = label_values(_open(path, subject), subject, path, coding)
    return labelled(values, coding, subject=subject, where=path)


def label_values(picture: Image.Image, subject: str, where: Path | str, coding: Coding) -> NDArray[Any]:
    """Return what a label's image holds: (H, W), or (H, W, 3) where classes are told by their colours.

    Raises:
        DataError: it has more than one channel where one is needed.
    """
    if coding.coloured:
        return np.array(picture.convert("RGB"))
    if len(picture.getbands()) == 1:
        return np.array(picture)
    got = {"mode": picture.mode, **_at(where)}
    raise DataError(law(subject, "label files of one channel", got, "For colours, list them in the option colours"))


def labelled(values: NDArray[Any], coding: Coding, *, subject: str, where: Path | str) -> Tensor:
    """Turn the values of a file, (H, W) or (H, W, 3), into a label: ids from 0, 255 = ignore.

    Raises:
        DataError: some are no class.
    """
    label = _from_colours(values, coding) if coding.coloured else _from_ids(values, coding)
    unlisted = label == _UNLISTED
    if unlisted.any():
        if coding.strict:
            raise DataError(_unlisted(subject, where, values[unlisted], coding))
        label[unlisted] = IGNORE
    return torch.from_numpy(label)


def need_same_size(subject: str, image: Tensor, label: Tensor, where: Path | str) -> None:
    """Raise DataError unless a label is as large as its image."""
    if image.shape[1:] != label.shape:
        got = {"image": tuple(image.shape[1:]), "label": tuple(label.shape), **_at(where)}
        raise DataError(law(subject, "labels as large as their images", got, "Resize one of them"))


def _at(where: Path | str) -> dict[str, str]:
    return {"file" if isinstance(where, Path) else "sample": str(where)}


def _matlab(path: Path, subject: str, variable: str) -> NDArray[Any]:
    try:
        from scipy.io.matlab import MatReadError, loadmat
    except ImportError as error:
        raise DataError(law(subject, "scipy to read MATLAB files", {"file": str(path)}, "Install scipy")) from error
    try:
        values: NDArray[Any] = loadmat(path, variable_names=[variable])[variable]
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError, MatReadError) as error:
        got = {"file": str(path), "error": str(error)}
        needs = f"MATLAB files with the variable {variable}"
        raise UnreadableError(law(subject, needs, got, "Restore or remove the file")) from error
    return values


def _open(path: Path, subject: str) -> Image.Image:
    try:
        picture = Image.open(path)
        picture.load()
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        # Pillow raises SyntaxError on a broken PNG header.
        got = {"file": str(path), "error": str(error)}
        raise UnreadableError(law(subject, "images that can be read", got, "Restore or remove the file")) from error
    return picture


def _from_ids(values: NDArray[Any], coding: Coding) -> NDArray[np.uint8]:
    table = _table(coding)
    if values.dtype == np.uint8:  # nearly all labels, and no need to check their range
        return np.asarray(table[values])
    wide = values.astype(np.int64)
    return np.asarray(table[np.where((wide < 0) | (wide > _MOST), _MOST + 1, wide)])


@functools.lru_cache(maxsize=8)
def _table(coding: Coding) -> NDArray[np.uint8]:
    """Which class each value of up to sixteen bits is; in the last place, what any other is."""
    table = np.full(_MOST + 2, _UNLISTED, np.uint8)
    table[list(coding.ignore)] = IGNORE
    table[np.array(coding.ids)] = np.arange(len(coding.ids), dtype=np.uint8)
    return table


def _from_colours(values: NDArray[np.uint8], coding: Coding) -> NDArray[np.uint8]:
    packed = _packed(values)
    known = _packed(np.array(coding.ids, dtype=np.uint8))
    order = np.argsort(known)
    place = np.searchsorted(known[order], packed).clip(max=len(known) - 1)
    found = order[place]
    return np.where(known[found] == packed, found, _UNLISTED).astype(np.uint8)


def _packed(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    wide = colours.astype(np.int32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def _unlisted(subject: str, where: Path | str, values: NDArray[Any], coding: Coding) -> str:
    found = np.unique(values, axis=0)[:5].tolist()
    needs = (
        "colours that are listed"
        if coding.coloured
        else f"label values among {_span(coding.ids)} or {list(coding.ignore)}"
    )
    remedy = "Correct classes, or set unlisted to ignore"
    return law(subject, needs, {"found": found, **_at(where)}, remedy)


def _span(ids: Sequence[object]) -> str:
    return f"{ids[0]}..{ids[-1]}" if list(ids) == list(range(len(ids))) else str(list(ids))
