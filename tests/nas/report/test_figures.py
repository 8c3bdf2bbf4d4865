from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blocks.errors import StoreError
from nas.report.figures import write_figures
from nas.report.page import collect
from nas.store import Store

Make = Callable[..., Any]


def test_the_main_pictures_are_large_and_hold_the_palette(store: Store, many: Make, add: Make, tmp_path: Path) -> None:
    many(store, add, 40)

    written = write_figures(tmp_path / "png", collect(store, "camvid"))

    assert [file.name for file in written] == ["front.png", "hypervolume.png", "effects.png", "curves.png"]
    for file in written:
        with Image.open(file) as image:
            assert image.width >= 1300
            pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
        assert (pixels == (255, 255, 255)).all(axis=1).mean() > 0.5
        if file.name in ("front.png", "hypervolume.png"):
            assert (pixels == (0x00, 0x72, 0xB2)).all(axis=1).any()


def test_names_are_drawn_as_they_are(store: Store, hostile: Make, hostile_text: str, tmp_path: Path) -> None:
    hostile(store)

    assert len(write_figures(tmp_path, collect(store, hostile_text))) >= 3


@pytest.mark.parametrize(
    ("odd", "names"),
    [
        ("empty", []),
        ("failures", []),
        ("one", ["front", "curves"]),
        ("equal", ["front", "effects", "curves"]),
        ("not_a_number", []),
        ("one_class", ["front", "hypervolume", "curves"]),
        ("no_objectives", ["front", "curves"]),
    ],
    indirect=["odd"],
)
def test_what_cannot_be_drawn_is_left_out(odd: Store, names: list[str], tmp_path: Path) -> None:
    assert [file.stem for file in write_figures(tmp_path / "png", collect(odd, "odd"))] == names


def test_a_folder_that_cannot_be_written_is_said_so(filled: Store, tmp_path: Path) -> None:
    (tmp_path / "png").touch()

    with pytest.raises(StoreError, match="--png needs a folder that can be written"):
        write_figures(tmp_path / "png", collect(filled, "camvid"))
