"""Random samples of a data set as one picture: the image, and the image under the colours of its label."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from blocks.errors import RunError, law
from nas.report.datasets import sample_name
from runners.data import IGNORE, DataInfo, DataSet
from runners.data.contract import SPLITS

_TILE: Final = 360  # the longer side of an image in the picture
_TEXT: Final = 14
_GAP: Final = 8
_SWATCH: Final = 190  # the width of one class in the legend
_COLOURED: Final = 0.6  # how much of a class's colour lies over the image

Canvas = NDArray[np.uint8]


def check_picture(path: Path) -> None:
    """Refuse a file that a picture cannot be written to, before any work is done for it.

    Raises:
        RunError: it does not end in `.png`, or its folder does not exist.
    """
    if path.suffix.lower() != ".png" or not path.parent.is_dir():
        needs = "a file that ends in .png, in a folder that exists"
        raise RunError(law("--picture", needs, {"picture": str(path)}, "Give another path"))


def write_samples(path: Path, data: DataSet, *, samples: int = 4, seed: int = 0) -> None:
    """Draw samples of each split as a network gets them, before they are augmented.

    Args:
        path: the PNG file to write.
        data: what to draw from.
        samples: of each split. [count]
        seed: of the draw.

    Raises:
        DataError: a sample that was drawn is wrong.
        RunError: the file cannot be written.
    """
    tiles, seen = [], set[int]()
    for name in SPLITS:
        split = data.split(name)
        for index in sorted(random.Random(seed).sample(range(len(split)), min(samples, len(split)))):
            image, label = split[index]
            pixels = pixels_of(image)
            panels = [pixels, overlay(pixels, label.numpy(), data.info)]
            tiles.append(tile(panels, f"{name}: {sample_name(split, index)}"))
            seen |= set(np.unique(label.numpy()).tolist())
    rows = _beside(tiles)
    save(stacked([*rows, legend(sorted(seen), data.info, width=rows[0].width)]), path)


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        picture.save(path, format="PNG")
    except OSError as error:
        got = {"path": str(path), "error": error.strerror}
        raise RunError(law("--picture", "a file that can be written", got, "Give another path")) from error


def pixels_of(image: Tensor) -> Canvas:
    """An image of a data set, (C, H, W), as one to look at, (H, W, 3)."""
    pixels: Canvas = image[:3].expand(3, -1, -1).permute(1, 2, 0).numpy()
    return pixels


def tile(panels: Sequence[Canvas], caption: str) -> Image.Image:
    """Pictures of one size beside each other, with a line of text above."""
    beside = np.concatenate(panels, axis=1)
    height, width = panels[0].shape[:2]
    longest = max(height, width)
    # Whole factors keep every pixel of a small image the same size.
    scale = _TILE // longest if longest < _TILE else _TILE / longest
    nearest = Image.Resampling.NEAREST if longest < _TILE else Image.Resampling.BOX
    sides = (round(len(panels) * width * scale), max(1, round(height * scale)))
    small = Image.fromarray(beside).resize(sides, nearest)
    made = Image.new("RGB", (small.width, small.height + _TEXT + _GAP), "white")
    made.paste(small, (0, _TEXT + _GAP))
    ImageDraw.Draw(made).text((0, 2), _short(caption, small.width), fill="black", font=_font())
    return made


def overlay(pixels: Canvas, label: Canvas, info: DataInfo) -> Canvas:
    """Lay the colours of the classes over an image, (H, W, 3); what is ignored is a grey chequerboard."""
    y, x = np.indices(label.shape)
    squares = np.where((y // 8 + x // 8) % 2, 160, 224).astype(np.uint8)
    colours = np.zeros((IGNORE + 1, 3), np.uint8)
    colours[: info.classes] = info.palette
    mixed = (1 - _COLOURED) * pixels + _COLOURED * colours[label] + 0.5
    return np.where((label == IGNORE)[..., None], squares[..., None], mixed.astype(np.uint8)).astype(np.uint8)


def legend(seen: Sequence[int], info: DataInfo, *, width: int) -> Image.Image:
    """The colours and names of the classes that occur."""
    columns = max(1, width // _SWATCH)
    rows = -(-len(seen) // columns)
    made = Image.new("RGB", (max(width, _SWATCH), max(1, rows) * (_TEXT + _GAP)), "white")
    draw = ImageDraw.Draw(made)
    for place, number in enumerate(seen):
        left, top = place % columns * _SWATCH, place // columns * (_TEXT + _GAP)
        colour, name = ((192, 192, 192), "ignored") if number == IGNORE else (info.palette[number], info.names[number])
        draw.rectangle((left, top, left + _TEXT, top + _TEXT), fill=colour, outline="black")
        draw.text((left + _TEXT + _GAP, top), _short(name, _SWATCH - 2 * _TEXT - _GAP), fill="black", font=_font())
    return made


def _beside(tiles: Sequence[Image.Image]) -> list[Image.Image]:
    """Two tiles a row, as wide as the widest."""
    rows, widest = [], max(tile.width for tile in tiles)
    for first in range(0, len(tiles), 2):
        pair = tiles[first : first + 2]
        row = Image.new("RGB", (2 * widest + _GAP, max(tile.height for tile in pair)), "white")
        for place, tile in enumerate(pair):
            row.paste(tile, (place * (widest + _GAP), 0))
        rows.append(row)
    return rows


def stacked(rows: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other."""
    height = sum(row.height + _GAP for row in rows)
    page = Image.new("RGB", (max(row.width for row in rows), height), "white")
    top = 0
    for row in rows:
        page.paste(row, (0, top))
        top += row.height + _GAP
    return page


def _short(text: str, width: int) -> str:
    """The end of a text that fits: the end of a file's name tells more than its beginning."""
    font = _font()
    while len(text) > 1 and font.getlength(text) > width:
        text = "…" + text[2:]
    return text


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_TEXT - 2)
