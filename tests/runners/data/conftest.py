"""Small data sets in the layouts of large ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = (24, 32)

Draw = Callable[..., None]


def draw(root: Path, image: str, label: str | None = None, values: tuple[int, ...] = (0,)) -> None:
    """Write an image of noise and a label whose rows hold the values, one after the other."""
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    (root / image).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / image)
    if label is not None:
        rows = np.array([values[y % len(values)] for y in range(SIZE[0])], np.uint8)
        (root / label).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.repeat(rows[:, None], SIZE[1], axis=1)).save(root / label)


@pytest.fixture(name="draw")
def drawing() -> Draw:
    return draw
