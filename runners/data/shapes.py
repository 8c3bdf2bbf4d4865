"""The embedded data set: drawn, not downloaded."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from blocks.architecture import canonical_json, fingerprint
from blocks.options import Range
from runners.data.contract import DataInfo, SplitName

_FIELD, _WATER, _HOUSE, _WIRE, _SHEEP, _BOAT = range(6)

_INFO = {
    "field": (120, 160, 60),
    "water": (50, 90, 190),
    "house": (170, 80, 60),
    "wire": (30, 30, 30),
    "sheep": (240, 240, 240),
    "boat": (250, 200, 40),
}

_STREAMS: tuple[SplitName, ...] = ("train", "val", "test")  # of random numbers

Image = NDArray[np.float32]
Label = NDArray[np.uint8]
Grid = tuple[Image, Image]  # y and x of each pixel


class Shapes:
    """Scenes of field and water with houses, wires, sheep and boats; the same ones on every machine.

    Field and water differ in texture more than in colour. A sheep and a boat are the same small bright disc: what it
    stands on decides. Wires are one or two pixels thin. So context and alignment both matter.

    Args:
        size: height and width. [px]
        train: scenes to train on. [count]
        val: scenes to evaluate on; `test` has as many that no search sees. [count]
        noise: standard deviation of the pixel noise. [share of full scale]
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        *,
        size: Annotated[tuple[int, int], Range(16, 4096)] = (64, 64),
        train: Annotated[int, Range(1, 1_000_000)] = 256,
        val: Annotated[int, Range(1, 1_000_000)] = 64,
        noise: Annotated[float, Range(0.0, 1.0)] = 0.06,
    ) -> None:
        self._counts = {"train": train, "val": val}
        self._test = val
        self._noise = noise
        self.info = DataInfo(tuple(_INFO), tuple(_INFO.values()), 3, size)

    def fingerprint(self) -> str:
        """There are no files: the version and the options say it all."""
        return fingerprint(canonical_json(["shapes", self.version, self.info.size, self._counts, self._noise]))

    def split(self, name: SplitName) -> Scenes:
        return Scenes(name, {**self._counts, "test": self._test}[name], self.info.size, self._noise)


class Scenes:
    """One split of `Shapes`: each scene is drawn when it is asked for."""

    def __init__(self, name: SplitName, count: int, size: tuple[int, int], noise: float) -> None:
        self._stream, self._count, self._size, self._noise = _STREAMS.index(name), count, size, noise

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < self._count:
            raise IndexError(index)
        rng = np.random.default_rng([self._stream, index])
        image, label = scene(rng, self._size)
        image += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(self._noise)
        pixels = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
        return torch.from_numpy(pixels), torch.from_numpy(label)


def scene(rng: Generator, size: tuple[int, int]) -> tuple[Image, Label]:
    """Draw one scene without noise.

    Shape:
        image: (3, H, W), values around [0, 1]
        label: (H, W)
    """
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    label = np.where(_shore(rng, y, x), _WATER, _FIELD).astype(np.uint8)
    image = np.where(label == _WATER, _stripes(rng, y, x), _speckles(rng, size))
    for _ in range(rng.integers(1, 4)):
        _house(rng, image, label)
    ground = label.copy()
    for _ in range(rng.integers(3, 8)):
        _animal(rng, image, label, ground, (y, x))
    for _ in range(rng.integers(1, 4)):
        _wire(rng, image, label, (y, x))
    return image, label


def _shore(rng: Generator, y: Image, x: Image) -> NDArray[np.bool_]:
    """A wavy line through the middle of the image at any angle: True on one side."""
    height, width = y.shape
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    across = (x - width / 2) * np.cos(angle) + (y - height / 2) * np.sin(angle)
    along = (y - height / 2) * np.cos(angle) - (x - width / 2) * np.sin(angle)
    wave = 0.08 * min(y.shape) * np.sin(along * 2 * np.pi / (0.6 * min(y.shape)) + phase)
    offset = rng.uniform(-0.25, 0.25) * min(y.shape)
    return np.asarray(across + wave > offset)


def _tint(rng: Generator, colour: tuple[float, float, float], spread: float) -> Image:
    """A colour of this scene's own. Spreads overlap, so that colour alone does not tell field from water."""
    tinted = np.asarray(colour) + rng.uniform(-spread, spread, 3)
    return tinted.astype(np.float32).reshape(3, 1, 1)


def _stripes(rng: Generator, y: Image, x: Image) -> Image:
    """Water: ripples about 5 px apart."""
    slant, phase = rng.uniform(-0.3, 0.3), rng.uniform(0, 2 * np.pi)
    ripple = np.sin((y + slant * x) * np.float32(rng.uniform(1.1, 1.5)) + np.float32(phase))
    return np.asarray(_tint(rng, (0.35, 0.45, 0.5), 0.15) + 0.08 * ripple, dtype=np.float32)


def _speckles(rng: Generator, size: tuple[int, int]) -> Image:
    """Field: blotches of 3 px."""
    height, width = size
    coarse = rng.standard_normal((-(-height // 3), -(-width // 3)), dtype=np.float32)
    blotches = coarse.repeat(3, axis=0).repeat(3, axis=1)[:height, :width]
    return np.asarray(_tint(rng, (0.4, 0.5, 0.4), 0.15) + 0.06 * blotches, dtype=np.float32)


def _house(rng: Generator, image: Image, label: Label) -> None:
    """A plain rectangle, a fifth to nearly half of the image wide."""
    height, width = label.shape
    h, w = (int(side * rng.uniform(0.18, 0.42)) for side in (height, width))
    top, left = rng.integers(0, height - h), rng.integers(0, width - w)
    where = (slice(top, top + h), slice(left, left + w))
    image[(slice(None), *where)] = _tint(rng, (0.55, 0.4, 0.35), 0.2)
    label[where] = _HOUSE


def _animal(rng: Generator, image: Image, label: Label, ground: Label, grid: Grid) -> None:
    """A bright disc: a sheep on the field, a boat on the water, not there at all on a house."""
    (y, x), (height, width) = grid, label.shape
    cy, cx, radius = rng.uniform(2, height - 2), rng.uniform(2, width - 2), rng.uniform(1.5, 3.0)
    colour = _tint(rng, (0.85, 0.85, 0.8), 0.1)
    below = ground[int(cy), int(cx)]
    if below == _HOUSE:
        return
    disc = (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
    label[disc] = _BOAT if below == _WATER else _SHEEP
    image[:, disc] = colour[:, 0]


def _wire(rng: Generator, image: Image, label: Label, grid: Grid) -> None:
    """A dark line from side to side, 1 to 2 px thin."""
    (y, x), (height, width) = grid, label.shape
    (y0, y1), thickness = rng.uniform(0, height, 2), rng.uniform(0.5, 1.0)
    slope = (y1 - y0) / width
    line = np.abs(y - y0 - slope * x) <= thickness * np.hypot(1.0, slope)
    if rng.random() < 0.5 and height == width:
        line = line.T
    label[line] = _WIRE
    image[:, line] = _tint(rng, (0.15, 0.15, 0.15), 0.1)[:, 0]
