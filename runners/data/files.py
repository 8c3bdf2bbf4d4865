"""Images and labels on disk: find them, decode them, and say which file is wrong."""

from __future__ import annotations

import hashlib
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
from runners.data.contract import IGNORE, SPLITS, SplitName, report

_IMAGES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_UNLISTED = 254  # at most 254 classes, so this id is free to mark a value that is no class


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the files of a data set lie.

    Args:
        subject: who is speaking in an error, e.g. `Data set camvid`.
        root: the folder that everything else is relative to.
        images: sub-folder of images.
        labels: sub-folder of labels.
        train: sub-folder of both for training.
        val: sub-folder of both for evaluation.
        image_suffix: what follows the shared name in an image's file name, before the extension.
        label_suffix: the same for labels.
    """

    subject: str
    root: Path
    images: str = "images"
    labels: str = "labels"
    train: str = "train"
    val: str = "val"
    image_suffix: str = ""
    label_suffix: str = ""

    def folders(self, split: SplitName) -> tuple[Path, Path]:
        """The folders of a split's images and labels."""
        part = self.train if split == "train" else self.val
        return self.root / self.images / part, self.root / self.labels / part


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its label."""

    image: Path
    label: Path


@dataclass(frozen=True, slots=True)
class Coding:
    """How a label file says which class a pixel has.

    Args:
        ids: the value of each class in the file, or its (red, green, blue).
        ignore: values that are turned into 255.
        strict: whether a value that is neither is an error; otherwise it is ignored too.
    """

    ids: tuple[int, ...] | tuple[tuple[int, int, int], ...]
    ignore: tuple[int, ...] = (IGNORE,)
    strict: bool = True

    @property
    def coloured(self) -> bool:
        return isinstance(self.ids[0], tuple)


def pairs(layout: Layout, split: SplitName) -> tuple[Pair, ...]:
    """List a split's images with their labels, sorted by name.

    Raises:
        DataError: a folder or labels are missing, or there is nothing.
    """
    images, labels = layout.folders(split)
    _need_folders(layout, (images, labels))
    found = [path for path in sorted(images.rglob("*")) if path.suffix.lower() in _IMAGES]
    made = [Pair(path, labels / path.relative_to(images).with_name(_label_name(layout, path))) for path in found]
    if not made:
        remedy = f"Images end in {', '.join(sorted(_IMAGES))}"
        raise DataError(law(layout.subject, f"images to {split} with", {"folder": str(images), "images": 0}, remedy))
    there = set(labels.rglob("*.png"))
    report([_missing(layout, pair) for pair in made if pair.label not in there])
    return tuple(made)


def _label_name(layout: Layout, image: Path) -> str:
    return image.stem.removesuffix(layout.image_suffix) + layout.label_suffix + ".png"


def _missing(layout: Layout, pair: Pair) -> str:
    remedy = f"It belongs to {pair.image}"
    return law(layout.subject, "a label for each image", {"missing": str(pair.label)}, remedy)


def _need_folders(layout: Layout, folders: Sequence[Path]) -> None:
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        there = [p.name for p in _children(layout.root)][:10] if layout.root.is_dir() else "no such folder"
        expected = ", ".join(str(f.relative_to(layout.root)) for f in missing)
        inside = [p for p in _children(layout.root) if all((p / f.relative_to(layout.root)).is_dir() for f in folders)]
        holds = f"Point root at the folder that holds {layout.images} and {layout.labels}"
        remedy = f"{holds}: {inside[0]}" if inside else holds
        raise DataError(
            law(layout.subject, f"{expected} below its root", {"root": str(layout.root), "found": there}, remedy)
        )


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def files_fingerprint(layout: Layout, version: int) -> str:
    """Hash the names below the root and the sizes of all files in use, and the version of the code that reads them."""
    digest = hashlib.sha256(f"{version}\n".encode())
    for split in SPLITS:
        for pair in pairs(layout, split):
            for path in (pair.image, pair.label):
                digest.update(f"{path.relative_to(layout.root).as_posix()}\t{path.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


class FileSplit:
    """One split of a data set on disk: each sample is decoded when it is asked for."""

    def __init__(
        self, layout: Layout, split: SplitName, coding: Coding, *, channels: int, size: tuple[int, int]
    ) -> None:
        self._subject, self._pairs = layout.subject, pairs(layout, split)
        self._coding, self._channels, self._size = coding, channels, size

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pair = self._pairs[index]
        image = read_image(pair.image, self._subject, channels=self._channels)
        label = read_label(pair.label, self._subject, self._coding)
        if image.shape[1:] != label.shape:
            got = {"image": tuple(image.shape[1:]), "label": tuple(label.shape), "file": str(pair.label)}
            raise DataError(law(self._subject, "labels as large as their images", got, "Resize one of them"))
        return resized(image, label, self._size)


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
    picture = _open(path, subject)
    if picture.mode.startswith(("I", "F")):
        raise DataError(
            law(subject, "8 bits a channel", {"mode": picture.mode, "file": str(path)}, "Convert the image")
        )
    if channels == 4 and picture.mode != "RGBA":
        got = {"mode": picture.mode, "file": str(path)}
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
    picture = _open(path, subject)
    if coding.coloured:
        label = _from_colours(np.array(picture.convert("RGB")), coding)
    elif len(picture.getbands()) == 1:
        label = _from_ids(np.array(picture), coding)
    else:
        got = {"mode": picture.mode, "file": str(path)}
        raise DataError(law(subject, "label files of one channel", got, "For colours, list them in the option colours"))
    unlisted = label == _UNLISTED
    if unlisted.any():
        if coding.strict:
            raise DataError(
                _unlisted(
                    subject, path, np.array(picture.convert("RGB") if coding.coloured else picture)[unlisted], coding
                )
            )
        label[unlisted] = IGNORE
    return torch.from_numpy(label)


def _open(path: Path, subject: str) -> Image.Image:
    try:
        picture = Image.open(path)
        picture.load()
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        # Pillow raises SyntaxError on a broken PNG header.
        got = {"file": str(path), "error": str(error)}
        raise DataError(law(subject, "images that can be read", got, "Restore or remove the file")) from error
    return picture


def _from_ids(values: NDArray[Any], coding: Coding) -> NDArray[np.uint8]:
    wide = values.astype(np.int64)
    table = np.full(65536, _UNLISTED, np.uint8)
    table[list(coding.ignore)] = IGNORE
    table[np.array(coding.ids)] = np.arange(len(coding.ids), dtype=np.uint8)
    return np.asarray(table[np.clip(wide, 0, 65535)])


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


def _unlisted(subject: str, path: Path, values: NDArray[Any], coding: Coding) -> str:
    found = np.unique(values, axis=0)[:5].tolist()
    needs = (
        "colours that are listed"
        if coding.coloured
        else f"label values among {_span(coding.ids)} or {list(coding.ignore)}"
    )
    remedy = "Correct classes, or set unlisted to ignore"
    return law(subject, needs, {"found": found, "file": str(path)}, remedy)


def _span(ids: Sequence[object]) -> str:
    return f"{ids[0]}..{ids[-1]}" if list(ids) == list(range(len(ids))) else str(list(ids))
